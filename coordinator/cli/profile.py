"""Which coordinator a command asks, and by which token: options, the environment, a profile file."""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from coordinator.cli.exits import Ended, Exit

DEFAULT_URL: Final = "http://localhost:36789"
_KEYS: Final = ("url", "token", "ca_file", "cert_file", "key_file")


@dataclass(frozen=True, slots=True)
class Profile:
    """url: of the HTTP API, without a path. token: empty: none. ca_file: who may sign for it.

    cert_file: the certificate that is shown to it; empty: none. key_file: its key; empty: in cert_file.
    """

    url: str = DEFAULT_URL
    token: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def profile_of(environment: Mapping[str, str], *, name: str = "", url: str = "") -> Profile:
    """The profile that is meant: the file's, then DTM_URL, DTM_TOKEN, DTM_CA_FILE …, then the url given.

    name: of a section; empty: DTM_PROFILE, else `default`, which need not be there. Raises Ended.
    """
    wanted = name or environment.get("DTM_PROFILE", "")
    path = profile_path(environment)
    found = _section(path, wanted or "default", must_be_there=bool(wanted))
    profile = Profile(**{key: found[key] for key in _KEYS if key in found})
    given = {key: environment.get(f"DTM_{key.upper()}", "") for key in _KEYS}
    profile = replace(profile, **{key: value for key, value in given.items() if value})
    profile = replace(profile, url=(url or profile.url).rstrip("/"), token=profile.token.strip())
    if problem := _problem_of(profile.url):
        raise Ended(Exit.USAGE, f"the coordinator's url {problem}")
    if not (profile.token.isascii() and profile.token.isprintable()):  # shown to nobody, here neither
        raise Ended(Exit.USAGE, "the token has a line break, or a character that no header carries")
    return profile


def _problem_of(url: str) -> str:
    """Why it cannot be asked, to stand after `the url`; empty where it can. A password is not repeated."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is none: {error}"
    if "@" in parts.netloc:
        return "holds a login, which it does not take: set DTM_TOKEN, or `token` in the profile file"
    if parts.scheme not in ("http", "https"):
        return f"is {url!r}: it begins with http:// or https://"
    return "" if host else f"is {url!r}: it names no host"


def profile_path(environment: Mapping[str, str]) -> Path:
    """Where the profile file is, or would be: `dtm/profile.toml` among the user's settings."""
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".config"
    return Path(home) / "dtm" / "profile.toml"


def _section(path: Path, name: str, *, must_be_there: bool) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            read = tomllib.load(file)
    except FileNotFoundError:
        if must_be_there:
            raise Ended(Exit.USAGE, f"there is no profile file {path}, where '{name}' could stand") from None
        return {}
    except OSError as error:
        raise Ended(Exit.USAGE, f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOML's errors, and those of UTF-8
        raise Ended(Exit.USAGE, f"{path} is no TOML: {error}") from error
    if os.name == "posix" and mode & 0o077:
        raise Ended(Exit.USAGE, f"{path} may hold a token, and others can read it: chmod 600 {path}")
    return _checked(path, name, read, must_be_there=must_be_there)


def _checked(path: Path, name: str, read: dict[str, Any], *, must_be_there: bool) -> dict[str, str]:
    section = read.get(name)
    if section is None and not must_be_there:
        return {}
    if not isinstance(section, dict):
        known = ", ".join(it for it, value in read.items() if isinstance(value, dict)) or "none"
        raise Ended(Exit.USAGE, f"{path} has no section [{name}]; it has: {known}")
    for key, value in section.items():
        if key not in _KEYS or not isinstance(value, str):
            raise Ended(Exit.USAGE, f"{path}: [{name}] may have {', '.join(_KEYS)}, each a text, not {key}")
    return section
