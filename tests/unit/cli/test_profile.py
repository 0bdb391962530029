"""Which coordinator is asked, and by which token: the environment, a file for its owner's eyes alone."""

from pathlib import Path

import pytest

from coordinator.cli.exits import Ended, Exit
from coordinator.cli.profile import DEFAULT_URL, Profile, profile_of, profile_path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose profile file is in a folder of the test's own."""
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def write(home: dict[str, str], text: str, mode: int = 0o600) -> Path:
    path = profile_path(home)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_without_anything_it_is_the_one_here(home: dict[str, str]) -> None:
    assert profile_of(home) == Profile(DEFAULT_URL, "", "")


def test_the_file_is_read_the_environment_goes_before_it_and_the_option_before_both(
    home: dict[str, str],
) -> None:
    write(home, '[default]\nurl = "https://dtm:36789/"\ntoken = "from-file"\n[test]\nurl = "http://test:1"\n')
    assert profile_of(home) == Profile("https://dtm:36789", "from-file", "")
    assert profile_of(home, name="test") == Profile("http://test:1", "", "")
    assert profile_of({**home, "DTM_PROFILE": "test"}).url == "http://test:1"
    given = {**home, "DTM_TOKEN": "from-environment", "DTM_URL": "http://environment:1"}
    assert profile_of(given) == Profile("http://environment:1", "from-environment", "")
    assert profile_of(given, url="http://option:1").url == "http://option:1"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(home: dict[str, str], mode: int) -> None:
    path = write(home, '[default]\ntoken = "secret"\n', mode)
    with pytest.raises(Ended, match=f"chmod 600 {path}") as refused:
        profile_of(home)
    assert refused.value.exit_code == Exit.USAGE
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("not toml", "", "is no TOML"),
        ("", "test", r"has no section \[test\]"),
        ("[default]\nport = 1\n", "", "not port"),
        ("[default]\nurl = 1\n", "", "each a text"),
        ('[default]\nurl = "dtm:36789"\n', "", "begins with http"),
    ],
)
def test_what_is_wrong_with_it_is_said(home: dict[str, str], text: str, name: str, says: str) -> None:
    write(home, text)
    with pytest.raises(Ended, match=says):
        profile_of(home, name=name)


def test_a_profile_that_is_named_must_be_there(home: dict[str, str]) -> None:
    with pytest.raises(Ended, match="there is no profile file"):
        profile_of(home, name="test")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://[::1", "is none: Invalid IPv6 URL"),
        ("http://dtm:99999", "is none: Port out of range"),
        ("http://", "names no host"),
        ("ftp://dtm:36789", "begins with http"),
        ("https://me:hunter2@dtm:36789", "holds a login"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_without_its_password(
    home: dict[str, str], url: str, says: str
) -> None:
    with pytest.raises(Ended, match=says) as refused:
        profile_of(home, url=url)
    assert refused.value.exit_code == Exit.USAGE
    assert "hunter2" not in str(refused.value)


def test_a_token_out_of_a_file_may_end_with_its_line(home: dict[str, str]) -> None:
    assert profile_of({**home, "DTM_TOKEN": "dtm_abc\r\n"}).token == "dtm_abc"


@pytest.mark.parametrize("token", ["dtm_hunter2\nX-Other: 1", "dtm_hunter2\x7f", "dtm_hünter2"])
def test_a_token_that_no_header_carries_is_refused_and_not_shown(home: dict[str, str], token: str) -> None:
    with pytest.raises(Ended, match="the token has a line break") as refused:
        profile_of({**home, "DTM_TOKEN": token})
    assert refused.value.exit_code == Exit.USAGE
    assert "nter2" not in str(refused.value)
