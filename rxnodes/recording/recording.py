"""Records the events and messages of a connection, compares them with a marble diagram, and replays them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable

from rxnodes.connection.protocols import check_connection
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import ConnectionState, Initiator
from rxnodes.rx.schedulers import LoopScheduler, running_loop
from rxnodes.testing.marbles import TICK, Cells, align, cells_of, draw, parse

if TYPE_CHECKING:
    from reactivex import abc

    from rxnodes.connection.protocols import ConnectionLike

__all__ = ["Recorded", "Recording", "record"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=LifecycleEvent)

LETTERS: dict[type[LifecycleEvent], str] = {Connecting: "c", Opened: "o", Dropped: "d", ErrorEvent: "e", Stopped: "s"}
MESSAGE = "m"
CLOSING_BY_US = "x"
CLOSING_BY_PEER = "X"
ALL_LETTERS = frozenset({*LETTERS.values(), MESSAGE, CLOSING_BY_US, CLOSING_BY_PEER})

#: Binary fractions are not exact. This much, in ticks, keeps an event from falling into the tick before its own.
ROUNDING = 1e-6

#: How many characters of a message an assertion shows.
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T_co]):
    """An event or a message, and when it was recorded.

    Attributes:
        time: Seconds since the recording began, by the event loop's clock.
        value: The event or the message.
    """

    time: float
    value: T_co


class Recording:
    """The events and messages of a connection since the recording began. `record` makes it.

    A character of its diagrams is a tick. The letters are:

    =======  =========================================
    `c`      `Connecting`
    `o`      `Opened`
    `m`      a message
    `d`      `Dropped`
    `e`      `ErrorEvent`
    `x`      `Closing`, begun by us
    `X`      `Closing`, begun by the peer
    `s`      `Stopped`
    =======  =========================================

    `rxnodes.testing.marbles` describes the notation. What happens within a tick is drawn at the beginning of the tick.

    Attributes:
        connection: The connection's name.
        recorded: Every lifecycle event and every message with its time, in the order of delivery.
        states: The state when the recording began, then every change.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(peer_script("--o--m--#", messages=["hello"]))
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         with record(project.websocket("chat")) as recording:
        ...             project.websocket("chat").start()
        ...             await project.websocket("chat").wait_stopped()
        ...     print(recording, recording.messages, recording.errors[0].phase)
        >>> run_in_virtual_time(main())
        <Recording of 'chat': c-o--m--(es)> ['hello'] receive
    """

    def __init__(self, connection: ConnectionLike, *, tick: float = TICK) -> None:
        check_connection(connection)
        parse("", letters=ALL_LETTERS, tick=tick)
        loop = running_loop()
        if loop is None:
            raise RuntimeError(
                "a recording goes by an event loop's clock: begin it on the project's loop, in a coroutine, which "
                "project.call() runs in a plain 'with'"
            )
        self.connection = connection.name
        self.recorded: list[Recorded[LifecycleEvent | str | bytes]] = []
        self.states: list[ConnectionState] = []
        self._tick = tick
        self._loop = loop
        self._began_at = self._loop.time()
        self._subscriptions = CompositeDisposable(
            connection.states.subscribe(self.states.append),
            connection.lifecycle.subscribe(self._note),
            connection.messages.subscribe(self._note),
        )

    def __repr__(self) -> str:
        return f"<Recording of {self.connection!r}: {self.marbles()}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def dispose(self) -> None:
        """Ends the recording. It keeps what it has recorded."""
        self._subscriptions.dispose()

    def _note(self, value: LifecycleEvent | str | bytes) -> None:
        self.recorded.append(Recorded(self._loop.time() - self._began_at, value))

    # What was recorded

    def of(self, kind: type[E]) -> list[Recorded[E]]:
        """The events of one kind, with their times.

        Args:
            kind: The class of the events. `LifecycleEvent` gives all events.

        Returns:
            The events, in the order of delivery.

        Example:
            >>> from rxnodes import Project
            >>> async def main() -> None:
            ...     async with Project(
            ...         websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport(peer_script("--o--X"))
            ...     ) as project:
            ...         recording = record(project.websocket("chat"))
            ...         project.websocket("chat").start()
            ...         await project.websocket("chat").wait_stopped()
            ...     print([(it.time, it.value.code) for it in recording.of(Stopped)])
            >>> run_in_virtual_time(main())
            [(0.5, 1000)]
        """
        return [Recorded(it.time, it.value) for it in self.recorded if isinstance(it.value, kind)]

    @property
    def events(self) -> list[LifecycleEvent]:
        """The lifecycle events."""
        return [it.value for it in self.of(LifecycleEvent)]

    @property
    def messages(self) -> list[str | bytes]:
        """The messages, as they came."""
        return [it.value for it in self.recorded if not isinstance(it.value, LifecycleEvent)]

    @property
    def stopped(self) -> list[Stopped]:
        """Every `Stopped`."""
        return [it.value for it in self.of(Stopped)]

    @property
    def errors(self) -> list[ErrorEvent]:
        """Every `ErrorEvent`."""
        return [it.value for it in self.of(ErrorEvent)]

    def replay(self, kind: type[E]) -> Observable[E]:
        """Emits the events of one kind again, at their recorded times, to test a handler by itself.

        ::

            recorded:           c-o-m-(ed)-co-(Xs)
            replay(Opened):     --O---------O|

        Args:
            kind: The class of the events.

        Returns:
            A cold observable. It counts the recorded times from the subscription, by the clock of the subscription's
            scheduler or else of the running loop, and completes after the last event.
        """
        recorded = self.of(kind)
        befores = [0.0, *(it.time for it in recorded)]

        def subscribe(observer: abc.ObserverBase[E], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            clock = scheduler or LoopScheduler(asyncio.get_running_loop())
            # One timer after the other, because a loop may run two that are due together in either order.
            waits = zip(recorded, befores, strict=False)
            return reactivex.concat(*(_later(it.value, it.time - before, clock) for it, before in waits)).subscribe(
                observer
            )

        return Observable(subscribe)

    # As a diagram

    def marbles(self) -> str:
        """The recording as a diagram, without silence at its end. From 20 ticks on, silence is drawn as a time."""
        return draw(self._cells(), tick=self._tick)

    def assert_marbles(self, diagram: str) -> None:
        """Asserts that the recording means the same as the diagram, which may be spelt differently.

        Args:
            diagram: The diagram.

        Raises:
            AssertionError: If they differ. It shows both diagrams, one below the other, and the first difference.
            ValueError: If the diagram cannot be read. It says where.
        """
        __tracebackhide__ = True
        expected = cells_of(parse(diagram, letters=ALL_LETTERS, tick=self._tick))
        recorded = self._cells()
        if expected == recorded:
            return
        above, below, pointers = align([expected, recorded], tick=self._tick)
        first = min(tick for tick in {*expected, *recorded} if expected.get(tick) != recorded.get(tick))
        lines = [
            f"{self.connection!r} did not do what the diagram says:",
            f"  expected  {above}",
            f"  recorded  {below}",
            f"            {pointers}",
            f"first difference at {first * self._tick:g} s; recorded there:",
            *(f"  {_described(it.value)}" for it in self.recorded if self._tick_of(it) == first),
        ]
        raise AssertionError("\n".join(lines if first in recorded else [*lines, "  nothing"]))

    def _cells(self) -> Cells:
        cells: defaultdict[int, str] = defaultdict(str)
        for it in self.recorded:
            cells[self._tick_of(it)] += _letter(it.value)
        return dict(cells)

    def _tick_of(self, recorded: Recorded[object]) -> int:
        return int(recorded.time / self._tick + ROUNDING)


def record(connection: ConnectionLike, *, tick: float = TICK) -> Recording:
    """Records a connection from now on, until its project closes or the recording is disposed.

    Call it on the event loop. The first tick begins now.

    Args:
        connection: The connection.
        tick: The length of a tick in the diagrams, in seconds.

    Returns:
        The recording, which is also a context manager.

    Raises:
        TypeError: If `connection` is not a connection.
        RuntimeError: If no event loop runs in this thread.
        ValueError: If the tick is not longer than 0 seconds.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     async with Project(
        ...         websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport(peer_script("--o-m"))
        ...     ) as project:
        ...         recording = record(project.websocket("chat"))
        ...         project.websocket("chat").start()
        ...         await asyncio.sleep(1)
        ...     recording.assert_marbles("c-o-m-----(xs)")
        ...     print(recording.stopped[0].code, recording.of(Stopped)[0].time)
        >>> run_in_virtual_time(main())
        1000 1.0
    """
    return Recording(connection, tick=tick)


def _later(value: T, seconds: float, scheduler: abc.SchedulerBase) -> Observable[T]:
    return reactivex.timer(seconds, scheduler=scheduler).pipe(ops.map(lambda _: value))


def _letter(value: LifecycleEvent | str | bytes) -> str:
    if isinstance(value, Closing):
        return CLOSING_BY_US if value.initiator is Initiator.LOCAL else CLOSING_BY_PEER
    if isinstance(value, LifecycleEvent):
        return LETTERS[type(value)]
    return MESSAGE


def _described(value: LifecycleEvent | str | bytes) -> str:
    match value:
        case ErrorEvent():
            return f"ErrorEvent, {value.phase}: {value.message}"
        case Dropped() | Stopped():
            return f"{type(value).__name__}: {value.code} {value.reason!r}"
        case LifecycleEvent():
            return type(value).__name__
        case _:
            shown = repr(value)
            return f"message {shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'}"
