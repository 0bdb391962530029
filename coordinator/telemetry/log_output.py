"""Where log lines go, and what they look like (PROTOCOL §13).

JSON lines in the form of zap's production encoder (`level`, `ts`, `caller`, `msg`, then the fields) to files
and pipes; readable text to a terminal. What libraries write through `logging` comes along.
"""

import inspect
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import orjson
from aiohttp.http_exceptions import HttpProcessingError
from loguru import logger

from coordinator.telemetry.guarded import Guarded, drain_all
from coordinator.telemetry.log import ALERT, SEVERE, STACK
from coordinator.telemetry.log_files import open_file, rotating
from coordinator.telemetry.secrets import Secrets
from coordinator.telemetry.shown import shown, shown_json, shown_lines
from coordinator.telemetry.unlocked import unlocked

if TYPE_CHECKING:
    from loguru import Record

LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "severe": SEVERE}

_SHOWN: Final = {
    "TRACE": "debug",
    "SUCCESS": "info",
    "WARNING": "warn",
    "CRITICAL": "error",
    SEVERE: "fatal",
    STACK: "error",
}
_COLOURS: Final = {
    "debug": "dim",
    "warn": "yellow",
    "slow": "yellow",
    "stat": "cyan",
    "error": "red",
    "alert": "red",
    "fatal": "red",
}
# Libraries say at `debug` what they do byte by byte, and grpclib at `info` that a client went away. What
# OpenTelemetry has to say of an exporter, `exporting` says once.
_LIBRARY_LEVELS: Final = {"grpclib": logging.WARNING, "opentelemetry": logging.CRITICAL + 1}
_STACK: Final = "stack"  # the field of `Log.stack`, of many lines
_INDENT: Final = "    "  # of these
_LINE: Final = "_line"  # the key in a record's extra under which the finished line travels
_ZAP_KEYS: Final = frozenset({"level", "ts", "caller", "msg", _LINE})


def configure_logging(
    level: str,
    outputs: Sequence[str],
    *,
    rotation: Mapping[str, Any] | None = None,
    secrets: Iterable[str] = (),
) -> "Outputs":
    """Send log lines of `level` and above to the outputs, in place of what was set up before.

    level: debug, info, warn or error. outputs: `stderr`, `stdout` or paths of files, which are appended to.
    rotation: None, or how files rotate, with lumberjack's keys: maxsize (MB, 100), maxage (days, 0 for ever),
    maxbackups (0 for all), compress. secrets: values that no line shows. Raises StartError for a file that
    cannot be written, or a bad rotation.
    """
    logger.remove()
    form, name = Form(Secrets(secrets)), LEVELS[level]
    added: dict[str, Guarded] = {}
    for output in dict.fromkeys(outputs):
        if output in {"stderr", "stdout"}:
            stream = sys.stderr if output == "stderr" else sys.stdout
            added[output] = add_stream(stream, name, form, text=stream.isatty())
        else:
            how: Mapping[str, Any] = {"watch": True} if rotation is None else rotating(rotation)
            added[output] = add_file(output, name, form, how)
    take_over_logging(name)
    return Outputs(added)


class Outputs:
    """Where lines go, for who has to know that they have gone."""

    def __init__(self, added: Mapping[str, Guarded]) -> None:
        self._stderr = added.get("stderr") or _guarded(sys.stderr, text=True)
        self._lines = list(added.values())
        self._all = [*self._lines, self._stderr]

    def say(self, text: str) -> None:
        """Write the text to stderr, behind the lines that went there; waits for nobody."""
        self._stderr.say(f"{text}\n")

    def pass_on(self, line: str) -> None:
        """Write a finished line of another process wherever lines go; waits for nobody."""
        for output in self._lines:
            output.say(line)

    def flush(self, seconds: float) -> None:
        """Wait until all lines are written, for at most so long: before the process ends. Blocks."""
        drain_all(self._all, seconds)


class Form:
    """Turns loguru's records into lines, without secrets."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def as_json(self, record: "Record") -> str:
        """Put the record's line into it, and say where it is: loguru formats what this returns."""
        fields = {**self._fields(record), **self._error(record)}
        line = {
            "level": shown_level(record),
            "ts": _timestamp(record["time"]),
            "caller": _caller(record),
            "msg": self._secrets.hidden(record["message"]),
        }
        record["extra"][_LINE] = _encode(line | fields)
        return f"{{extra[{_LINE}]}}\n"

    def as_text(self, record: "Record") -> str:
        """The same for people."""
        found = self._fields(record)
        blocks = [str(found.pop(_STACK, "")), self._error(record).get("stacktrace", "")]
        fields = " ".join(f"{shown(key)}={shown(str(value))}" for key, value in found.items())
        trace = "\n".join(shown_lines(block, _INDENT) for block in blocks if block)
        message = shown(self._secrets.hidden(record["message"]))
        record["extra"][_LINE] = {
            "msg": message,
            "fields": fields,
            "trace": f"\n{trace}" if trace else "",
        }
        level = shown_level(record)
        colour = _COLOURS.get(level, "green")
        parts = f"{{extra[{_LINE}][msg]}} <dim>{{extra[{_LINE}][fields]}}</dim>{{extra[{_LINE}][trace]}}"
        return f"<dim>{{time:HH:mm:ss.SSS}}</dim> <{colour}>{level:<5}</{colour}> {parts}\n"

    def _fields(self, record: "Record") -> dict[str, Any]:
        hidden = self._secrets.hidden_field
        return {key: hidden(key, value) for key, value in record["extra"].items() if key not in _ZAP_KEYS}

    def _error(self, record: "Record") -> dict[str, str]:
        error = record["exception"]
        if error is None or error.value is None:
            return {}
        trace = "".join(traceback.format_exception(error.type, error.value, error.traceback))
        hidden = self._secrets.hidden
        return {"error": hidden(repr(error.value)), "stacktrace": hidden(trace)}


def add_stream(stream: TextIO, level: str, form: Form, *, text: bool, **how: Any) -> Guarded:
    """Write lines of the level and above to a stream. how: more for loguru's `add`."""
    sink = _guarded(stream, text=text)
    _add(sink, level, form.as_text if text else form.as_json, colorize=text and stream.isatty(), **how)
    return sink


def _guarded(stream: TextIO, *, text: bool) -> Guarded:
    output = unlocked(stream)
    return Guarded(output, flush=output.flush, say_lost=_lost_as_text if text else _lost_as_json)


def add_file(
    path: str,
    level: str,
    form: Form,
    rotation: Mapping[str, Any],
    *,
    text: bool = False,
    key: str = "Log.Outputs",
    **how: Any,
) -> Guarded:
    """Write lines to a file. rotation: what loguru's file sinks take. key: where the path was configured.

    Raises StartError.
    """
    sink = open_file(path, rotation, say_lost=_lost_as_text if text else _lost_as_json, key=key)
    _add(sink, level, form.as_text if text else form.as_json, colorize=False, **how)
    return sink


def _add(sink: Any, level: str, form: "Callable[[Record], str]", **how: Any) -> None:
    # diagnose would print the values of variables, passwords among them.
    logger.add(sink, level=level, format=form, backtrace=False, diagnose=False, **how)


def shown_level(record: "Record") -> str:
    """What a line calls the record's level."""
    name = record["level"].name
    return _SHOWN.get(name, name.lower())


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _caller(record: "Record") -> str:
    path = Path(record["file"].path)
    return f"{path.parent.name}/{path.name}:{record['line']}"


def _encode(line: Mapping[str, Any]) -> str:
    try:
        return shown_json(orjson.dumps(line, default=str).decode())
    except orjson.JSONEncodeError:  # surrogates, huge integers: rare, and no reason to lose the line
        return json.dumps(line, default=str)


def _lost_as_json(count: int, reason: str) -> str:
    line = {
        "level": "warn",
        "ts": _timestamp(datetime.now(UTC)),
        "msg": _lost(count, reason),
    }
    return f"{_encode(line)}\n"


def _lost_as_text(count: int, reason: str) -> str:
    return f"{shown(_lost(count, reason))}\n"


def _lost(count: int, reason: str) -> str:
    lines = "log line was" if count == 1 else "log lines were"
    return f"{count} {lines} lost: {reason}"


class _Forward(logging.Handler):
    """Hands what is written through `logging` to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        depth = _depth_of_caller()
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())


def _depth_of_caller() -> int:
    """How many frames are between `_Forward.emit` and the line that wrote the record."""
    frame, depth = inspect.currentframe(), 0
    while frame is not None and (depth < 2 or frame.f_code.co_filename == logging.__file__):
        frame, depth = frame.f_back, depth + 1
    return depth - 1


def take_over_logging(level: str) -> None:
    """Let what libraries write through `logging` flow into the same lines. level: loguru's name."""
    least = max(logging.INFO, min(logger.level(level).no, logging.CRITICAL))
    logging.basicConfig(handlers=[_Forward()], level=least, force=True)
    logging.captureWarnings(True)
    logging.getLogger("coordinator").setLevel(logger.level(level).no)  # ours: what the client has, too
    for name, library_least in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, library_least))
    server = logging.getLogger("aiohttp.server")
    server.removeFilter(_is_our_fault)
    server.addFilter(_is_our_fault)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether aiohttp reports more than a client that does not speak HTTP (answered by 400, no news)."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


__all__ = ["ALERT", "LEVELS", "Form", "Outputs", "add_file", "add_stream", "configure_logging", "shown_level"]
