"""Secrets that stand in files of their own: mounts of Kubernetes and Docker, credentials of systemd."""

from pathlib import Path
from typing import Final

from coordinator.config.values import FieldPath, Values, key_of

SECRET_BYTES_MAX: Final = 65_536  # of one file; whatever is bigger was given by mistake

# Each secret, and the field that names its file.
SECRET_FILES: Final[tuple[tuple[FieldPath, FieldPath], ...]] = (
    (("store", "password"), ("store", "password_file")),
    (("micro_service", "target"), ("micro_service", "target_file")),
    (("telemetry", "endpoint"), ("telemetry", "endpoint_file")),
    (("alert_web_hook",), ("alert_web_hook_file",)),
    (("oidc", "client_secret"), ("oidc", "client_secret_file")),
)


def read_secret_files(values: Values) -> None:
    """Put what the files hold where the secrets themselves would stand; note what cannot be read."""
    for secret, named in SECRET_FILES:
        file = values.given(named)
        if not file:
            continue
        if values.given(secret):
            problem = f"is given, and {key_of(secret)} too"
            values.problems.append(values.problem(named, problem, "Keep one of them."))
            continue
        text, problem, hint = _read(Path(str(file)))
        if problem:
            values.problems.append(values.problem(named, f"{str(file)!r} {problem}", hint))
        else:
            values.give(secret, text, origin=values.origins[named])


def _read(file: Path) -> tuple[str, str, str]:
    """The secret without the line's end behind it; or what is wrong, and what to do."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SECRET_BYTES_MAX + 1)
    except FileNotFoundError:
        return "", "is not there", "Name the file that holds the secret, or mount it."
    except PermissionError:
        return "", "may not be read by this user", "Let this user read it, and nobody else."
    except (OSError, ValueError) as error:  # a folder; a name with a NUL
        reason = getattr(error, "strerror", None) or str(error)
        return "", f"cannot be read: {reason.lower()}", "Name the file that holds the secret."
    if len(data) > SECRET_BYTES_MAX:
        return "", f"has more than {SECRET_BYTES_MAX} bytes: this is no secret", ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "", "is not UTF-8 text", "Save it as UTF-8."
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        return "", "is empty", "Write the secret into it."
    if "\n" in text or "\0" in text:
        return "", "has more than one line", "Write the secret alone into it."
    return text, "", ""
