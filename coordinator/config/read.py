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
from coordinator.config.settings import HttpMicroService, Log, MicroService, Settings, Store, without_secrets
from coordinator.config.values import FieldPath, Values, every_field, gather, key_of

__all__ = [
    "ConfigError",
    "HttpMicroService",
    "Loaded",
    "Log",
    "MicroService",
    "Problem",
    "Settings",
    "Store",
    "load_settings",
    "shown_values",
    "without_secrets",
]

RETRY_INTERVAL_LEAST: Final = 10  # seconds


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


@dataclass(frozen=True, slots=True)
class _Finding:
    """A rule that the settings break. near: the field whose value makes the rule apply."""

    path: FieldPath
    problem: str
    hint: str = ""
    near: FieldPath = ()


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Loaded:
    """Read the configuration (PROTOCOL §13).

    file: a conf.yml, or None for none. environment: `os.environ`.
    Raises ConfigError with every problem there is, in the order of the file.
    """
    document = read_document(file) if file is not None else Document()
    values = gather(file, document, environment)
    driver = values.tree["store"].get("driver")
    settings, wrong = _build(values)
    for finding in _broken_rules(settings):
        # A rule says nothing about values that were not understood and stand on their default here.
        if finding.path not in wrong and finding.near not in wrong:
            problem = values.problem(finding.path, finding.problem, finding.hint, near=finding.near)
            values.problems.append(problem)
    if values.problems:
        raise ConfigError(tuple(sorted(values.problems, key=lambda problem: problem.line or 0)))
    for finding in _doubts(settings):
        values.warnings.append(values.problem(finding.path, finding.problem, finding.hint))
    warnings = sorted(values.warnings, key=lambda warning: warning.line or 0)
    notices = (_boltdb_notice(settings),) if driver == "boltdb" else ()
    sources = {key_of(path): values.problem(path, "").place for path in values.origins}
    return Loaded(settings, tuple(str(warning) for warning in warnings), notices, sources)


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
        elif path[-1] in {"target", "alert_web_hook", "endpoint"}:
            value = without_secrets(str(value))
        yield key_of(path), str(value)


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


def _broken_rules(settings: Settings) -> Iterator[_Finding]:
    """What PROTOCOL §13 forbids, and what cannot work."""
    yield from _broken_store_rules(settings.store)
    retry, timeout = settings.retry_interval, settings.timeout_to_fail
    if retry < RETRY_INTERVAL_LEAST:
        yield _Finding(("retry_interval",), f"is {retry}, but must be at least {RETRY_INTERVAL_LEAST}")
    if timeout < retry:
        problem = f"is {timeout}, but must not be less than RetryInterval, which is {retry}"
        yield _Finding(("timeout_to_fail",), problem, near=("retry_interval",))
    if settings.http_port == settings.grpc_port != 0:
        problem = f"is {settings.grpc_port}, as HttpPort is"
        yield _Finding(("grpc_port",), problem, "Each needs a port of its own.", near=("http_port",))
    service = settings.micro_service
    if service.driver == "dtm-driver-gozero" and service.target:
        target = ("micro_service", "target")
        if not service.target.startswith(("etcd://", "discov://")):
            shown = without_secrets(service.target)
            hint = "Write it as etcd://host:2379/name."
            yield _Finding(target, f"{shown[:60]!r} is no address of etcd", hint)
        if not service.end_point:
            hint = "Write the host:port by which others reach GrpcPort."
            yield _Finding(("micro_service", "end_point"), "is missing", hint, near=target)


def _broken_store_rules(store: Store) -> Iterator[_Finding]:
    if store.driver not in {"mysql", "postgres"}:
        return
    driver = ("store", "driver")
    if not store.host:
        hint = "Write the host name or address of the server."
        yield _Finding(("store", "host"), f"is missing, and {store.driver} needs it", hint, near=driver)
    if not store.port:
        hint = "MySQL's and MariaDB's own is 3306."
        yield _Finding(("store", "port"), "is missing, and mysql needs it", hint, near=driver)
    if not store.user:
        hint = "Write the name of a database user."
        yield _Finding(("store", "user"), f"is missing, and {store.driver} needs it", hint, near=driver)
    if store.driver == "postgres" and not store.schema_:
        hint = "Write the schema of the coordinator's tables, usually public."
        yield _Finding(("store", "schema_"), "is empty, and postgres needs it", hint, near=driver)


def _doubts(settings: Settings) -> Iterator[_Finding]:
    """What can stand but will hardly do what was meant."""
    if settings.micro_service.target and settings.micro_service.driver == "default":
        hint = "Set MicroService.Driver to dtm-driver-gozero to register there."
        yield _Finding(("micro_service", "target"), "has no effect with the driver default", hint)
    if settings.http_micro_service.driver not in {"", "default"}:
        problem = "no registry for HTTP is built yet; this section has no effect"
        yield _Finding(("http_micro_service", "driver"), problem)
    hook = settings.alert_web_hook
    if hook and not hook.startswith(("http://", "https://")):
        hint = "Begin it with http:// or https://."
        yield _Finding(("alert_web_hook",), "is no URL, so alerts cannot be sent", hint)


def _boltdb_notice(settings: Settings) -> str:
    return (
        f"Store.Driver boltdb: transactions are kept in the SQLite file {settings.store.path};"
        " an existing BoltDB file is not read"
    )
