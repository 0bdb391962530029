"""Where one process stands among those that share the ports of one coordinator."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.config.settings import Settings

_STREAMS: Final = frozenset({"stdout", "stderr"})


def writes_files(settings: Settings) -> bool:
    """Whether lines go to files, which one process alone may write and rotate."""
    return not _STREAMS.issuperset(settings.log.destinations)


@dataclass(frozen=True, slots=True)
class Place:
    """number: from 1. count: how many there are. folder: where they find each other.

    life: the descriptor of a pipe that ends when this process is to stop. ready: of one that takes what is
    said when it is ready.
    """

    number: int
    count: int
    folder: Path
    life: int
    ready: int

    def __str__(self) -> str:
        return f"{self.number}:{self.count}:{self.life}:{self.ready}:{self.folder}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what `str` wrote. Raises ValueError."""
        number, count, life, ready, folder = text.split(":", 4)
        return cls(int(number), int(count), Path(folder), int(life), int(ready))

    def settings_of(self, settings: Settings) -> Settings:
        """The settings as this process has them: a name of its own; the first alone stands in a registry."""
        registration = {} if self.number == 1 else {"target": ""}
        return settings.model_copy(
            update={
                "instance_name": f"{settings.instance_name}.{self.number}",
                "micro_service": settings.micro_service.model_copy(update=registration),
            }
        )

    def log_outputs(self, settings: Settings) -> Sequence[str]:
        """Where this process's lines go: what belongs in files is written by who started it."""
        return ("stdout",) if writes_files(settings) else settings.log.destinations

    def say_ready(self, said: str) -> None:
        """Tell who started this process that it is ready, in these words."""
        with os.fdopen(self.ready, "w", encoding="utf-8") as pipe:
            pipe.write(said)
