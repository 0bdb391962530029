"""What a workflow function raised, as the coordinator is told it: where in the user's code. Pure."""

import traceback
from pathlib import Path
from typing import Final

_OWN: Final = Path(__file__).resolve().parents[1]  # the client
_FRAMES_MAX: Final = 8
_MESSAGE_CHARACTERS_MAX: Final = 300
_NOT_OF_THE_USER: Final = ("/site-packages/", "/lib/python", "/asyncio/", "/concurrent/")


def cleaned(error: BaseException) -> str:
    """Return type and message, then the places in the user's own code, the innermost first.

    Files by name alone: where they lie on this machine is nobody's business. Of a group the first is told.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = " ".join(str(error).split())[:_MESSAGE_CHARACTERS_MAX]
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
        if not _is_anothers(frame.filename)
    ]
    head = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return "\n  at ".join([head, *frames[:_FRAMES_MAX]])


def _is_anothers(filename: str) -> bool:
    written = filename.replace("\\", "/")
    return Path(filename).is_relative_to(_OWN) or any(part in written for part in _NOT_OF_THE_USER)
