"""The other processes of one coordinator: what they count, whether they are ready, what they should forget.

Each listens on a socket in the folder that they share. A question is one line; the answer is all that comes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from coordinator.telemetry.log import log
from coordinator.telemetry.merged import merged

_ANSWER_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 0.5
_ANSWER_BYTES_MAX: Final = 8 << 20
_QUESTION_BYTES_MAX: Final = 64
METRICS: Final = b"metrics"
PROBLEMS: Final = b"problems"
TOPICS: Final = b"topics"


class Siblings:
    """Asks the others, and answers them.

    number: of this process, from 1. count: of all. answers: by question.
    """

    def __init__(
        self, folder: Path, number: int, count: int, answers: Mapping[bytes, Callable[[], bytes]]
    ) -> None:
        self._folder = folder
        self._number = number
        self._others = [other for other in range(1, count + 1) if other != number]
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer. Raises OSError."""
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of this one's forerunner
        self._server = await asyncio.start_unix_server(self._answer, path)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            self._path(self._number).unlink(missing_ok=True)

    async def metrics(self, own: bytes) -> bytes:
        """The metrics of all processes. own: this one's. One that does not answer is left out."""
        answers = await self._ask_all(METRICS, _ANSWER_SECONDS)
        texts = [own, *(answer for answer in answers.values() if answer)]
        return await asyncio.to_thread(merged, texts)

    async def problems(self) -> Mapping[str, str]:
        """What keeps the others from being ready, by part; the part begins with the process's number."""
        found: dict[str, str] = {}
        for number, answer in (await self._ask_all(PROBLEMS, _ANSWER_SECONDS)).items():
            theirs = {"process": "does not answer: it is being started, or hangs"}
            if answer:
                with suppress(orjson.JSONDecodeError):
                    theirs = orjson.loads(answer)
            found |= {f"{number}: {part}": str(problem) for part, problem in theirs.items()}
        return found

    async def forget_topics(self) -> None:
        """Have the others look anew at what topics there are. One that is away has nothing to forget."""
        await self._ask_all(TOPICS, _TELL_SECONDS)

    async def _ask_all(self, question: bytes, seconds: float) -> Mapping[int, bytes]:
        answers: Sequence[bytes] = await asyncio.gather(
            *(self._ask(number, question, seconds) for number in self._others)
        )
        return dict(zip(self._others, answers, strict=True))

    async def _ask(self, number: int, question: bytes, seconds: float) -> bytes:
        """The answer; nothing where none comes."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    writer.write(question + b"\n")
                    answer = bytearray()
                    while piece := await reader.read(64 * 1024):
                        answer += piece
                        if len(answer) > _ANSWER_BYTES_MAX:
                            return b""
                    return bytes(answer)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                question = (await reader.readuntil(b"\n"))[:_QUESTION_BYTES_MAX].strip()
                answer = self._answers.get(question)
                if answer is not None:
                    writer.write(answer())
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a process of this coordinator asked and did not wait: {!r}", error)
        finally:
            writer.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.sock"
