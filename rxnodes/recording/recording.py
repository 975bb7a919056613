"""A recording: its entries, and how it is compared with a marble diagram, drawn, and played again.

It is longer than other files because each of its methods has its documentation.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import reactivex
from reactivex import Observable
from reactivex import operators as ops

from rxnodes.errors import UnknownConfiguration
from rxnodes.lifecycle.events import STATE_AFTER, ErrorEvent, LifecycleEvent, Stopped
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.recording.diagrams import compare, diagrams_of, is_incoming
from rxnodes.recording.entries import LeftOut, Message, Recorded
from rxnodes.recording.lines import Head, read
from rxnodes.recording.marbles import TICK
from rxnodes.recording.pictures.lanes import lanes_of
from rxnodes.recording.pictures.mermaid import mermaid
from rxnodes.recording.pictures.svg import svg
from rxnodes.recording.pictures.text import text
from rxnodes.recording.player import player
from rxnodes.rx.schedulers import LoopScheduler
from rxnodes.transport.scripted import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from os import PathLike

    from reactivex import abc

    from rxnodes.recording.entries import Entry
    from rxnodes.recording.pictures.lanes import Lanes

__all__ = ["Recording"]

T = TypeVar("T")
E = TypeVar("E")


class Recording:
    """The lifecycle events, the messages and the pulses of connections, since the recording began.

    `record` and `Recorder` make one, and `Recording.load` reads one from a file.

    Each character of its diagrams is a tick. The letters are:

    =======  =====================================================
    `c`      `Connecting`
    `o`      `Opened`
    `m`      a received message, or several without payloads
    `d`      `Dropped`
    `e`      `ErrorEvent`
    `x`      `Closing`, begun by us
    `X`      `Closing`, begun by the peer
    `s`      `Stopped`
    =======  =====================================================

    `rxnodes.recording.marbles` describes the notation. A diagram shows everything at the beginning of its tick.

    Example:
        >>> from rxnodes import Project
        >>> from rxnodes.testing import ScriptedTransport, peer_script, record, run_in_virtual_time
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

    def __init__(
        self,
        head: Head,
        entries: Callable[[], list[Recorded[Entry]]],
        *,
        tick: float = TICK,
        dispose: Callable[[], object] | None = None,
    ) -> None:
        self._head = head
        self._entries = entries
        self._tick = tick
        self._dispose = dispose

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads a recording from a file, also while it is still being written.

        It skips a last line that a crash has torn.

        Args:
            path: The file.

        Returns:
            The recording.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no recording, is of a version that this rxnodes does not know, or has a line that
                cannot be read.

        Example:
            >>> import pathlib, tempfile
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     with Recorder(Project(websocket={"chat": "ws://127.0.0.1/"}), pathlib.Path(folder, "run.jsonl")):
            ...         pass
            ...     print(Recording.load(pathlib.Path(folder, "run.jsonl")).events)
            []
        """
        with Path(path).open("rb") as file:
            head, entries = read(file)
        return cls(head, lambda: entries)

    def __repr__(self) -> str:
        rows = [f"{name!r}: {row}" if row else repr(name) for name, row in self._rows().items()]
        return f"<Recording of {', '.join(rows) or 'nothing'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def dispose(self) -> None:
        """Ends a recording that `record` began. It keeps its entries."""
        dispose, self._dispose = self._dispose, None
        if dispose is not None:
            dispose()

    @property
    def began_at(self) -> datetime:
        """When the recording began, in UTC."""
        return self._head.began_at

    @property
    def connections(self) -> list[str]:
        """The names of the connections, in the order in which they first appear."""
        return self._names_in(self.recorded)

    def _names_in(self, recorded: Iterable[Recorded[Entry]]) -> list[str]:
        names = (it.value.connection for it in recorded if not isinstance(it.value, LeftOut))
        return list(dict.fromkeys([*self._head.states, *names]))

    @property
    def recorded(self) -> list[Recorded[Entry]]:
        """All entries, in the order of time: lifecycle events, `Message`, `Messages`, `Pulse` and `LeftOut`."""
        return list(self._entries())

    def only(self, connection: str) -> Recording:
        """The recording of one connection.

        Args:
            connection: Its name.

        Returns:
            A recording with the entries of that connection.

        Raises:
            UnknownConfiguration: If no connection of that name was recorded.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> project = Project(websocket={"chat": "ws://127.0.0.1/", "feed": "ws://127.0.0.1/"})
            >>> with Recorder([project.websocket("chat"), project.websocket("feed")]) as recorder:
            ...     pass
            >>> recorder.recording.connections, recorder.recording.only("feed").connections
            (['chat', 'feed'], ['feed'])
        """
        if connection not in (names := self.connections):
            raise UnknownConfiguration(connection, names)
        states = {connection: self._head.states.get(connection, ConnectionState.IDLE)}
        return Recording(
            Head(self._head.began_at, states),
            lambda: [it for it in self._entries() if getattr(it.value, "connection", connection) == connection],
            tick=self._tick,
        )

    def of(self, kind: type[E]) -> list[Recorded[E]]:
        """All entries of one kind.

        Args:
            kind: The class of the entries. `LifecycleEvent` gives all events.

        Returns:
            The entries with their times, in the order of time.

        Example:
            >>> from rxnodes import Project, Stopped
            >>> from rxnodes.testing import ScriptedTransport, peer_script, record, run_in_virtual_time
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
        """The received messages, in their order.

        Raises:
            ValueError: If payloads were not recorded.
        """
        came = [it.value for it in self.recorded if is_incoming(it.value)]
        payloads = [it.payload for it in came if isinstance(it, Message) and it.payload is not None]
        if len(payloads) < len(came):
            raise ValueError("this recording has no payloads: Recorder(..., payloads=True) records them")
        return payloads

    @property
    def states(self) -> list[ConnectionState]:
        """The state when the recording began, then every change.

        Raises:
            ValueError: If there are several connections; `only` gives the recording of one.
        """
        states = [self._head.states.get(self._name(), ConnectionState.IDLE)]
        for event in self.events:
            state = STATE_AFTER.get(type(event), states[-1])
            if state is not states[-1]:
                states.append(state)
        return states

    @property
    def stopped(self) -> list[Stopped]:
        """Every `Stopped`."""
        return [it.value for it in self.of(Stopped)]

    @property
    def errors(self) -> list[ErrorEvent]:
        """Every `ErrorEvent`."""
        return [it.value for it in self.of(ErrorEvent)]

    def replay(self, kind: type[E]) -> Observable[E]:
        """Emits the entries of one kind again, at their recorded times, so that a handler can be tested by itself.

        ::

            recorded:           c-o-m-(ed)-co-(Xs)
            replay(Opened):     --O---------O|

        Args:
            kind: The class of the entries.

        Returns:
            A cold observable. The recorded times count from the subscription, by the clock of the subscription's
            scheduler or else of the running loop. It completes after the last entry.
        """
        recorded = self.of(kind)
        befores = [0.0, *(it.time for it in recorded)]

        def subscribe(observer: abc.ObserverBase[E], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            clock = scheduler or LoopScheduler(asyncio.get_running_loop())
            # One timer after the other: a loop may call two that are due together in either order.
            waits = zip(recorded, befores, strict=False)
            return reactivex.concat(*(_later(it.value, it.time - before, clock) for it, before in waits)).subscribe(
                observer
            )

        return Observable(subscribe)

    def transport(self) -> ScriptedTransport:
        """A transport whose peers repeat, in virtual time, what they did in the recording.

        Each dial gets the next attempt that was recorded of its URL. The handshake, the messages and the end come at
        their recorded times after the dial; whatever came after our Close frame comes at its time after that. When no
        recorded attempt is left, a dial is refused.

        Without payloads the peers send filler of the same kind and size, and a log record says so. No recording has a
        login by `after_connect`: play it yourself, or leave it out.

        Returns:
            A transport for a project whose connections have the same URLs. If all attempts were to one URL, the
            connections may have any.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.testing import ScriptedTransport, peer_script, record, run_in_virtual_time
            >>> async def run(transport: ScriptedTransport) -> Recording:
            ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
            ...         recording = record(project.websocket("chat"))
            ...         project.websocket("chat").start()
            ...         await project.websocket("chat").wait_stopped()
            ...     return recording
            >>> first = run_in_virtual_time(run(ScriptedTransport(peer_script("-o-mm--#"))))
            >>> run_in_virtual_time(run(first.transport())).assert_marbles(first.to_marbles())
        """
        return ScriptedTransport(player(self.recorded))

    @property
    def lanes(self) -> Lanes:
        """The lanes that pictures draw, one for each connection."""
        return lanes_of(self._head, self.recorded)

    def to_svg(self) -> str:
        """The recording as a picture: an SVG document that fits any width from 360 pixels on, in light and dark.

        Each connection has a lane: its state as a coloured band; received messages as marbles above it, and sent ones
        below it, or as columns where they are dense; pulses, attempts, delays before the next attempt, and how each
        session ended. A bracket joins the pulse of a stop with its On Stop. Time is stretched where much happens.

        Returns:
            The document. Names and reasons are always text in it, and never markup.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> with Recorder(Project(websocket={"chat": "ws://127.0.0.1/"}).websocket("chat")) as recorder:
            ...     pass
            >>> recorder.recording.to_svg()[:4]
            '<svg'
        """
        return svg(self.lanes)

    def to_mermaid(self) -> str:
        """The recording as a Mermaid sequence diagram, which issues and READMEs can show.

        Returns:
            The diagram's source.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> with Recorder(Project(websocket={"chat": "ws://127.0.0.1/"}).websocket("chat")) as recorder:
            ...     pass
            >>> print(recorder.recording.to_mermaid().splitlines()[0])
            sequenceDiagram
        """
        return mermaid(self.connections, self.recorded)

    def to_text(self, width: int = 79, *, is_unicode: bool = True) -> list[str]:
        """The picture for a terminal, as lines without colour.

        Args:
            width: Its width in columns, 40 or more.
            is_unicode: Whether it may have characters beyond ASCII.

        Returns:
            The lines.

        Raises:
            ValueError: If the width is less than 40.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> with Recorder(Project(websocket={"chat": "ws://127.0.0.1/"}).websocket("chat")) as recorder:
            ...     pass
            >>> print(recorder.recording.to_text()[0])
            chat
        """
        lines = text(self.lanes, width, is_unicode=is_unicode)
        return ["".join(part for part, _ in line).rstrip() for line in lines]

    def to_marbles(self) -> str:
        """The recording as a diagram, without silence at its end. From 20 ticks on, silence is drawn as a time.

        Returns:
            The diagram; of several connections, one line for each, with its name.

        Example:
            >>> from rxnodes import Project
            >>> from rxnodes.recording import Recorder
            >>> with Recorder(Project(websocket={"chat": "ws://127.0.0.1/"}).websocket("chat")) as recorder:
            ...     pass
            >>> recorder.recording.to_marbles()
            ''
        """
        rows = self._rows()
        if len(rows) <= 1:
            return "".join(rows.values())
        width = max(map(len, rows)) + 2
        return "\n".join(f"{name + ':':{width}}{row}".rstrip() for name, row in rows.items())

    def assert_marbles(self, diagram: str) -> None:
        """Asserts that the recording has the same letters at the same times as the diagram.

        Args:
            diagram: The diagram.

        Raises:
            AssertionError: If it has not. The message shows both diagrams and the first difference.
            ValueError: If the diagram cannot be read, with the place; or if there are several connections.
        """
        __tracebackhide__ = True
        difference = compare(diagram, self._name(), self.recorded, tick=self._tick)
        if difference is not None:
            raise AssertionError(difference)

    def _name(self) -> str:
        """The name of the only connection."""
        names = self.connections
        if len(names) != 1:
            raise ValueError(f"the recording is of {len(names)} connections ({', '.join(names)}): only() gives one")
        return names[0]

    def _rows(self) -> dict[str, str]:
        recorded = self.recorded
        return diagrams_of(self._names_in(recorded), recorded, tick=self._tick)


def _later(value: T, seconds: float, scheduler: abc.SchedulerBase) -> Observable[T]:
    return reactivex.timer(seconds, scheduler=scheduler).pipe(ops.map(lambda _: value))
