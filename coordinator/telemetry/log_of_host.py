"""Log lines of a coordinator inside of another program: through that program's own `logging`."""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from coordinator.telemetry.log import ALERT, SEVERE, SLOW, STACK, STAT

_NUMBERS: Final = {
    STAT: logging.INFO,
    SLOW: logging.WARNING,
    STACK: logging.ERROR,
    ALERT: logging.ERROR,
    SEVERE: logging.CRITICAL,
}


class HostLog:
    """Writes lines to a logger, whose levels, handlers and form are the program's. hidden: hides secrets."""

    def __init__(self, logger: logging.Logger, hidden: Callable[[str], str]) -> None:
        self._logger = logger
        self._hidden = hidden

    def write(
        self,
        level: str,
        message: str,
        fields: Mapping[str, object],
        exception: BaseException | None,
    ) -> None:
        """See Elsewhere. The fields stand behind the sentence, as `gid=g1`."""
        number = _NUMBERS.get(level) or logging.getLevelNamesMapping()[level]
        if not self._logger.isEnabledFor(number):
            return
        told = " ".join([message, *(f"{name}={value}" for name, value in fields.items())])
        # 4: whoever wrote the line, not this, nor the logger of ours that it went through
        self._logger.log(number, "%s", self._hidden(told), exc_info=exception, stacklevel=4)
