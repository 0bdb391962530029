"""Where log lines go, and what they look like (PROTOCOL §13).

JSON lines in the form of zap's production encoder (`level`, `ts`, `caller`, `msg`, then the fields that were
bound) to files and pipes; readable text to a terminal. What libraries write through `logging` comes along.
"""

import inspect
import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import orjson
from aiohttp.http_exceptions import HttpProcessingError
from loguru import logger

from coordinator.telemetry.log_files import open_file

if TYPE_CHECKING:
    from loguru import Record

LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}

_SHOWN: Final = {"TRACE": "debug", "SUCCESS": "info", "WARNING": "warn", "CRITICAL": "error"}
# Libraries say at `debug` what they do byte by byte, and grpclib at `info` that a client went away.
_LIBRARY_LEVELS: Final = {"grpclib": logging.WARNING}
_LINE: Final = "_line"  # the key in a record's extra under which the finished line travels


def configure_logging(
    level: str, outputs: Sequence[str], *, rotation: Mapping[str, Any] | None = None
) -> None:
    """Send log lines of `level` and above to the outputs, in place of what was set up before.

    level: debug, info, warn or error. outputs: `stderr`, `stdout` or paths of files, which are appended to.
    rotation: None, or how files rotate, with lumberjack's keys: maxsize (MB, 100), maxage (days, 0 for ever),
    maxbackups (0 for all), compress. Raises StartError for a file that cannot be written, or a bad rotation.
    """
    logger.remove()
    name = LEVELS[level]
    for output in dict.fromkeys(outputs):
        if output in {"stderr", "stdout"}:
            _add_stream(sys.stderr if output == "stderr" else sys.stdout, name)
        else:
            open_file(output, rotation, lambda sink, name=name, **how: _add(sink, name, _as_json, **how))
    _take_over_logging(max(logging.INFO, logging.getLevelNamesMapping()[name]))


def _add_stream(stream: TextIO, level: str) -> None:
    _add(stream, level, _as_text if stream.isatty() else _as_json)


def _add(sink: Any, level: str, form: "Callable[[Record], str]", **how: Any) -> None:
    # diagnose would print the values of variables, passwords among them.
    logger.add(sink, level=level, format=form, backtrace=False, diagnose=False, **how)


def _as_json(record: "Record") -> str:
    """Put the record's line into it, and say where it is: loguru formats what this returns."""
    path = Path(record["file"].path)
    moment = record["time"].astimezone(UTC)
    line: dict[str, Any] = {
        "level": _level(record),
        "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "caller": f"{path.parent.name}/{path.name}:{record['line']}",
        "msg": record["message"],
    }
    fields = {**_fields(record), **_error(record)}
    record["extra"][_LINE] = _encode(line | {key: fields[key] for key in fields if key not in line})
    return f"{{extra[{_LINE}]}}\n"


def _as_text(record: "Record") -> str:
    fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
    record["extra"][_LINE] = fields
    colour = {"warn": "yellow", "error": "red", "debug": "dim"}.get(_level(record), "green")
    head = f"<dim>{{time:HH:mm:ss.SSS}}</dim> <{colour}>{_level(record):<5}</{colour}> {{message}}"
    return f"{head} <dim>{{extra[{_LINE}]}}</dim>\n{{exception}}"


def _level(record: "Record") -> str:
    name = record["level"].name
    return _SHOWN.get(name, name.lower())


def _fields(record: "Record") -> dict[str, Any]:
    return {key: value for key, value in record["extra"].items() if key != _LINE}


def _error(record: "Record") -> dict[str, str]:
    error = record["exception"]
    if error is None or error.value is None:
        return {}
    trace = traceback.format_exception(error.type, error.value, error.traceback)
    return {"error": repr(error.value), "stacktrace": "".join(trace)}


def _encode(line: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except orjson.JSONEncodeError:  # surrogates, huge integers: rare, and no reason to lose the line
        return json.dumps(line, default=str)


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


def _take_over_logging(level: int) -> None:
    logging.basicConfig(handlers=[_Forward()], level=level, force=True)
    logging.captureWarnings(True)
    for name, least in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, least))
    server = logging.getLogger("aiohttp.server")
    server.removeFilter(_is_our_fault)
    server.addFilter(_is_our_fault)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether aiohttp reports more than a client that does not speak HTTP (answered by 400, no news)."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
