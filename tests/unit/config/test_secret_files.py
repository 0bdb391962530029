"""Secrets in files of their own: read whole, said nowhere, every trouble with them named."""

import os
from pathlib import Path

import pytest

from coordinator.config.file import ConfigError
from coordinator.config.read import Loaded, load_settings, shown_values
from coordinator.config.secret_files import SECRET_FILES
from coordinator.config.settings import variable
from coordinator.config.values import key_of
from coordinator.server.observing import secrets_of

SECRETS = {
    "Store.Password": "p@ss wörd",
    "MicroService.Target": "etcd://h:2379/dtmservice?user=u&password=hidden-word",
    "Telemetry.Endpoint": "http://u:hidden-word@h:14268/api/traces",
    "Oidc.ClientSecret": "p@ss wörd",
    "AlertWebHook": "https://hooks.example/services/hidden-word",
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def load(**environment: str) -> Loaded:
    return load_settings(None, environment)


def problems(**environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**environment)
    return [str(problem) for problem in caught.value.problems]


def test_a_password_in_a_file(secret: Path) -> None:
    secret.write_text("p@ss wörd\n", encoding="utf-8")
    loaded = load(STORE_PASSWORD_FILE=str(secret))
    assert loaded.settings.store.password.get_secret_value() == "p@ss wörd"
    assert loaded.sources["Store.Password"] == "environment STORE_PASSWORD_FILE"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize(("secret_path", "file_path"), SECRET_FILES, ids=str)
def test_every_secret_may_stand_in_a_file(
    secret: Path, ending: str, secret_path: tuple[str, ...], file_path: tuple[str, ...]
) -> None:
    text = SECRETS[key_of(secret_path)]
    secret.write_text(text + ending, encoding="utf-8", newline="")
    more = {"MICRO_SERVICE_DRIVER": "dtm-driver-gozero", "MICRO_SERVICE_END_POINT": "h:1"}
    from_file = load(**more, **{variable(file_path): str(secret)})
    itself = load(**more, **{variable(secret_path): text})
    for path in (secret_path, ("store", "password")):
        found, expected = from_file.settings, itself.settings
        for name in path:
            found, expected = getattr(found, name), getattr(expected, name)
        assert found == expected
    assert list(secrets_of(from_file.settings)) == list(secrets_of(itself.settings))
    shown = "\n".join(value for _, value in shown_values(from_file.settings))
    assert "hidden-word" not in shown and "wörd" not in shown
    assert "hidden-word" not in repr(from_file.settings) and "wörd" not in repr(from_file.settings)


def test_every_field_that_may_hold_a_secret_has_a_file() -> None:
    assert {key_of(path) for path, _ in SECRET_FILES} == set(SECRETS)


def test_spaces_belong_to_the_secret_and_a_byte_order_mark_does_not(secret: Path) -> None:
    secret.write_bytes(b"\xef\xbb\xbf p \n")
    assert load(STORE_PASSWORD_FILE=str(secret)).settings.store.password.get_secret_value() == " p "


def test_a_file_and_the_secret_itself(secret: Path) -> None:
    secret.write_text("p")
    assert problems(STORE_PASSWORD_FILE=str(secret), STORE_PASSWORD="hidden-word") == [
        "environment STORE_PASSWORD_FILE: Store.PasswordFile: is given, and Store.Password too."
        " Keep one of them."
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is not there. Name the file that holds the secret, or mount it."),
        (b"", "is empty. Write the secret into it."),
        (b"\n", "is empty. Write the secret into it."),
        (b"hidden-word\nother\n", "has more than one line. Write the secret alone into it."),
        (b"hidden-word\xff", "is not UTF-8 text. Save it as UTF-8."),
        (b"hidden-word" * 10_000, "has more than 65536 bytes: this is no secret."),
    ],
)
def test_a_file_that_holds_no_secret_is_named(secret: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        secret.write_bytes(content)
    said = problems(STORE_PASSWORD_FILE=str(secret))
    assert said == [f"environment STORE_PASSWORD_FILE: Store.PasswordFile: {str(secret)!r} {problem}"]
    assert "hidden-word" not in said[0]


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    [said] = problems(STORE_PASSWORD_FILE=str(tmp_path))
    assert "cannot be read: is a directory" in said


def test_a_file_that_may_not_be_read(secret: Path) -> None:
    secret.write_text("p")
    secret.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        said = problems(STORE_PASSWORD_FILE=str(secret))
    finally:
        os.seteuid(user)
    assert said[0].endswith("may not be read by this user. Let this user read it, and nobody else.")


def test_a_secret_of_a_file_is_judged_as_if_it_stood_in_the_configuration(tmp_path: Path) -> None:
    secret, conf = tmp_path / "hook", tmp_path / "conf.yml"
    secret.write_text("hooks.example/hidden-word")
    conf.write_text(f"HttpPort: 1\nAlertWebHookFile: {secret}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(conf, {})
    [problem] = map(str, caught.value.problems)
    assert problem.startswith(f"{conf}:2: AlertWebHook: is no URL that begins with")
    assert "hidden-word" not in problem
