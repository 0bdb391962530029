"""From conf.yml and the environment to one `Settings`, or to all that is wrong with them (PROTOCOL §13).

The file wins over the environment, the environment over the default. An empty variable and a key without a
value count as not given. A conf.yml that the reference starts with starts this server too.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from coordinator.config.file import ConfigError, Document, Problem, read_document
from coordinator.config.rules import broken_rules, doubts
from coordinator.config.secret_files import read_secret_files
from coordinator.config.settings import HttpMicroService, Log, MicroService, Settings
from coordinator.config.store import Store
from coordinator.config.values import FieldPath, Values, every_field, gather, key_of
from coordinator.discovery.logins import HIDDEN, shown_origin, shown_url
from coordinator.discovery.target import is_loopback

__all__ = [
    "ALL_ADDRESSES",
    "ConfigError",
    "HttpMicroService",
    "Loaded",
    "Log",
    "MicroService",
    "Problem",
    "Settings",
    "Store",
    "access_remark",
    "load_settings",
    "shown_values",
]


ALL_ADDRESSES: Final = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    warnings: what the operator should look at. notices: what the server says at start. sources: where a value
    was written, `conf.yml:3` or `environment HTTP_PORT`, by key; keys on their default are not in it.
    """

    settings: Settings
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Loaded:
    """Read the configuration and judge it (PROTOCOL §13); `dtm check` and the start ask here, nowhere else.

    Looks at the files that the configuration names; connects to nothing, changes nothing.
    file: a conf.yml, or None for none. environment: `os.environ`.
    Raises ConfigError with every problem there is, in the order of the file.
    """
    document = read_document(file) if file is not None else Document()
    values = gather(file, document, environment)
    read_secret_files(values)
    driver, host_is_given = values.tree["store"].get("driver"), ("host",) in values.origins
    if file is not None:
        values.tree.setdefault("host", ALL_ADDRESSES)
    settings, wrong = _build(values)
    for finding in broken_rules(settings, environment):
        # A rule says nothing about values that were not understood and stand on their default here.
        if finding.path not in wrong and finding.near not in wrong:
            problem = values.problem(finding.path, finding.problem, finding.hint, near=finding.near)
            values.problems.append(problem)
    if values.problems:
        raise ConfigError(tuple(sorted(values.problems, key=lambda problem: problem.line or 0)))
    for finding in doubts(settings):
        values.warnings.append(values.problem(finding.path, finding.problem, finding.hint))
    warnings = sorted(values.warnings, key=lambda warning: warning.line or 0)
    notices = [_boltdb_notice(settings)] if driver == "boltdb" else []
    if not host_is_given and settings.host == ALL_ADDRESSES:
        notices.append("no Host is given: listening on all addresses of this machine")
    if remark := access_remark(settings):
        notices.append(remark)
    sources = {key_of(path): values.problem(path, "").place for path in values.origins}
    return Loaded(settings, tuple(str(warning) for warning in warnings), tuple(notices), sources)


def shown_values(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every key with its value in force, as it may be printed: without passwords and tokens."""
    for path, _ in every_field():
        value: object = settings
        for name in path:
            value = getattr(value, name)
        if isinstance(value, SecretStr) or path[-1] == "registry_options":
            value = "(set)" if value not in {SecretStr(""), "{}", ""} else "(not set)"
        elif isinstance(value, bool):
            value = int(value)
        elif path[-1] == "alert_web_hook":
            value = shown_origin(str(value))
        elif path[-1] in {"target", "endpoint", "registry_address"}:
            value = _without_query(shown_url(str(value)))
        yield key_of(path), str(value)


def access_remark(settings: Settings) -> str:
    """What people should know of who may do what here; empty where there is nothing to say."""
    if settings.access.mode != "off":
        return ""
    operators = settings.operators
    at = [(settings.host, "submit" if operators.port else "submit, stop and read everything")]
    if operators.port:
        at.append((operators.host, "stop and read everything at Operators.Port"))
    open_to = [(host, what) for host, what in at if not is_loopback(host)]
    if not open_to:
        return ""
    hosts = " and ".join(dict.fromkeys(host for host, _ in open_to))
    return (
        f"Access.Mode is off and {hosts} is no loopback: whoever reaches these ports may"
        f" {', and '.join(what for _, what in open_to)}; docs/security.md says how to change that"
    )


def _without_query(url: str) -> str:
    before, mark, _ = url.partition("?")
    return f"{before}?{HIDDEN}" if mark else before


def _build(values: Values) -> tuple[Settings, set[FieldPath]]:
    """Make the settings of all values that fit; note the others as problems, and return which they were."""
    wrong = {path for path in values.origins if not _is_given(values, path)}
    while True:
        try:
            return Settings.model_validate(values.tree), wrong
        except ValidationError as error:
            for details in error.errors(include_url=False):
                path = tuple(str(name) for name in details["loc"])
                given = values.drop(path)
                wrong.add(path)
                problem, hint = _explain(details, given)
                values.problems.append(values.problem(path, problem, hint))


def _is_given(values: Values, path: FieldPath) -> bool:
    tree = values.tree[path[0]] if len(path) > 1 else values.tree
    return path[-1] in tree


def _explain(details: ErrorDetails, given: object) -> tuple[str, str]:
    """What is wrong with a value, and what to write instead; repeats the value only where it is no secret."""
    context = details.get("ctx", {})
    match details["type"]:
        case "greater_than_equal":
            return f"is {given}, but must be at least {context['ge']}", ""
        case "less_than_equal":
            return f"is {given}, but must be at most {context['le']}", ""
        case "string_too_short":
            return "must not be empty", ""
        case "float_parsing" | "finite_number":
            return f"{str(given)[:40]!r} is no number", ""
        case "literal_error":
            expected = str(context["expected"]).replace("'", "")
            close = difflib.get_close_matches(
                str(given).lower(), expected.replace(" or ", ", ").split(", "), n=1
            )
            hint = f"Did you mean {close[0]}?" if close else ""
            return f"{str(given)[:40]!r} is none of {expected}", hint
        case "value_error":
            return str(context["error"]), ""
        case _:
            return details["msg"], ""


def _boltdb_notice(settings: Settings) -> str:
    return (
        f"Store.Driver boltdb: transactions are kept in the SQLite file {settings.store.path};"
        " an existing BoltDB file is not read"
    )
