"""Keeps so many processes running: starts them, starts one that died again, ends all of them in order."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from coordinator.errors import StartError
from coordinator.telemetry.log import log

STOP_SECONDS: Final = 20.0  # in which a process ends what it does, before it is killed
_PAUSE_FIRST: Final = 0.1  # seconds before one that died is started again; doubles
_PAUSE_MAX: Final = 30.0
_STEADY_SECONDS: Final = 60.0  # one that ran for so long begins with the first pause again


class Process(Protocol):
    """One that was started. said: what it says when it is ready; empty when it ended before."""

    number: int
    started: float
    said: asyncio.Task[str]

    def ask_to_stop(self) -> None:
        """Let it end in order."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    async def ended(self) -> int:
        """Wait for its end; returns its exit code."""
        ...


Start = Callable[[int], Awaitable[Process]]


def pause_before(deaths: int) -> float:
    """Seconds before the next start, after so many deaths in a row."""
    return min(_PAUSE_FIRST * 2.0 ** min(deaths - 1, 20), _PAUSE_MAX)


@dataclass(slots=True)
class _Seat:
    """The place of one process: who has it, or is started for it, and how often in a row it was vacated."""

    number: int
    process: Process | None = None
    starting: asyncio.Task[Process] | None = None
    deaths: int = 0
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """start: starts the process of a number. monotonic: seconds. sleep: for so many."""

    def __init__(
        self,
        count: int,
        start: Start,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._start = start
        self._monotonic = monotonic
        self._sleep = sleep
        self._seats = [_Seat(number) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._replaced: set[int] = set()  # that are stopped on purpose, to be started anew

    async def start(self) -> str:
        """Start all, the first one before the others; returns what it said.

        Raises StartError where one ends before it is ready: all are ended then.
        """
        said = await self._start_first(self._seats[0])
        others = [asyncio.create_task(self._start_first(seat)) for seat in self._seats[1:]]
        if others:
            await asyncio.wait(others)
        failed = [error for task in others if (error := task.exception()) is not None]
        if failed:
            await self._end_all()
            raise failed[0]
        return said

    async def run(self) -> None:
        """Keep them running until `stop`, then end them."""
        keeping = [asyncio.create_task(self._keep(seat)) for seat in self._seats]
        try:
            await self._stopping.wait()
        finally:
            await self._end_all()
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)

    def stop(self) -> None:
        """End all of them, as soon as `run` gets to it."""
        self._stopping.set()

    async def renew(self) -> None:
        """End each and start it anew, one after the other; the next when the one before is ready.

        To be cancelled when all are to stop.
        """
        async with self._renewing:
            for seat in self._seats:
                if seat.process is None:
                    continue
                self._replaced.add(seat.number)
                seat.filled.clear()
                await self._end(seat.process)
                await seat.filled.wait()
                await asyncio.wait([seat.process.said])

    async def _start_first(self, seat: _Seat) -> str:
        process = seat.process = await self._start(seat.number)
        ended = asyncio.create_task(process.ended())
        await asyncio.wait({process.said, ended}, return_when=asyncio.FIRST_COMPLETED)
        if process.said.done() and not process.said.cancelled() and (said := process.said.result()):
            ended.cancel()
            await asyncio.wait([ended])
            return said
        code = await ended
        seat.process = None
        raise StartError(
            f"process {seat.number} of {len(self._seats)} ended with {code} before it was ready",
            "what it says above is why",
        )

    async def _keep(self, seat: _Seat) -> None:
        while not self._stopping.is_set():
            process = seat.process
            if process is None:
                return
            code = await process.ended()
            if self._stopping.is_set():
                return
            if seat.number in self._replaced:
                self._replaced.discard(seat.number)
            else:
                await self._mourn(seat, f"ended with {code}", self._monotonic() - process.started)
            await self._fill(seat)

    async def _fill(self, seat: _Seat) -> None:
        while not self._stopping.is_set():
            seat.starting = asyncio.ensure_future(self._start(seat.number))
            try:
                seat.process = await asyncio.shield(seat.starting)  # a process that began is ended in order
                seat.filled.set()
                return
            except OSError as error:  # no memory or no descriptor for it just now
                await self._mourn(seat, f"cannot be started: {error}", 0.0)

    async def _mourn(self, seat: _Seat, what: str, lasted: float) -> None:
        seat.deaths = 1 if lasted >= _STEADY_SECONDS else seat.deaths + 1
        pause = pause_before(seat.deaths)
        log.alert(
            "process {} of this coordinator {} after {:.1f} s; it is started again in {:.1f} s, and others"
            " take up what it drove",
            *(seat.number, what, lasted, pause),
        )
        await self._sleep(pause)

    async def _end_all(self) -> None:
        await asyncio.gather(*(self._vacate(seat) for seat in self._seats))

    async def _vacate(self, seat: _Seat) -> None:
        starting = seat.starting
        if starting is not None:
            await asyncio.wait([starting])
            seat.process = None if starting.exception() else starting.result()
        if seat.process is not None:
            await self._end(seat.process)

    async def _end(self, process: Process) -> None:
        process.ask_to_stop()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.ended()
        except TimeoutError:
            log.error("process {} does not end; it is killed", process.number)
            process.kill()
            await process.ended()
