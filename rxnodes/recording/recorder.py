"""Records connections: their lifecycle, their messages, and the pulses of their action nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast

from reactivex.disposable import CompositeDisposable, Disposable

from rxnodes.connection.protocols import check_connection
from rxnodes.recording.entries import Message, Messages, Pulse, Recorded
from rxnodes.recording.keeping import InFile, InMemory
from rxnodes.recording.lines import Head, head_line
from rxnodes.recording.marbles import TICK, parse
from rxnodes.recording.recording import Recording
from rxnodes.rx.schedulers import running_loop, stopwatch_of, utc_now

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from os import PathLike

    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.lifecycle.events import LifecycleEvent
    from rxnodes.recording.entries import Direction, Entry, Kind
    from rxnodes.recording.keeping import Keeping

__all__ = ["Recorder", "record"]

#: Without payloads, what follows within so many seconds joins the same run, which lasts no longer than `LONGEST`.
CLOSE: Final = 0.02
LONGEST: Final = 0.1


class HasConnections(Protocol):
    """A project, or a fleet that is seen from outside."""

    def follow_connections(self, tell: Callable[[ConnectionLike], object], /) -> Callable[[], None]:
        """Calls `tell` with each connection, now and when one is made; returns a function that ends it."""
        ...


class Recorder:
    """Records connections, as a context manager: their lifecycle, their messages, and the pulses of their nodes.

    It records from the beginning of the block to its end. Enter it around the project, or before it, so that it records
    the end of each session. It may be entered in any thread, and before the project is open.

    The system has each line of a file at once, so that a crash of the program loses none. Without payloads, messages in
    one direction, or pulses of one node, that follow closely on each other become one entry, at most a tenth of a
    second later. It records no header, no credentials and nothing of a login.

    Args:
        project_or_connections: A project, with all its connections, also those that are added later; a connection; or
            several.
        path: The file to record to, which is overwritten; `None`: memory.
        payloads: Whether it records the messages themselves, which may hold secrets.
        max_bytes: How many bytes the recording may have. Beyond that it gives up half of a file, and in memory as much
            as it must: the oldest messages first, then pulses, and lifecycle events last. A `LeftOut` counts them.

    Raises:
        TypeError: If it gets neither a project nor connections.
        ValueError: If `max_bytes` is not positive.
        OSError: On entering it, if the file cannot be written, is no regular file, or another recorder writes to it.

    Example:
        >>> from rxnodes import Project
        >>> from rxnodes.testing import ScriptedTransport, peer_script, run_in_virtual_time
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(peer_script("--o--m--X", close=(1001, "bye")))
        ...     project = Project(websocket={"chat": "ws://chat.test/"}, transport=transport)
        ...     chat = project.websocket("chat")
        ...     with Recorder(project) as recorder:
        ...         async with project:
        ...             chat.start()
        ...             await chat.wait_stopped()
        ...     print(recorder.recording.to_marbles())
        >>> run_in_virtual_time(main())
        c-o--m--(Xs)
    """

    def __init__(
        self,
        project_or_connections: HasConnections | ConnectionLike | Iterable[ConnectionLike],
        path: str | PathLike[str] | None = None,
        *,
        payloads: bool = False,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        if not max_bytes > 0:
            raise ValueError(f"max_bytes must be positive, not {max_bytes!r}")
        self._follow = _follower_of(project_or_connections)
        self._path = path
        self._payloads = payloads
        self._max_bytes = max_bytes
        self._tracks: set[_Track] = set()
        self._unfollow: Callable[[], None] | None = None
        self._keeping: Keeping | None = None
        self._head: Head | None = None

    def __enter__(self) -> Self:
        self._begin()
        return self

    def begin(self, tick: float) -> Recording:
        """Begins to record, until the recording is disposed."""
        keeping = self._begin()
        assert self._head is not None
        return Recording(self._head, keeping.entries, tick=tick, dispose=self.__exit__)

    def _begin(self) -> InMemory | InFile:
        if self._head is not None:
            raise RuntimeError("a recorder is entered once; make a new one")
        clock = stopwatch_of(running_loop())
        began_at = clock()
        made: list[ConnectionLike] = []
        # A first look at the connections, because the first line has their states.
        self._follow(made.append)()
        self._head = head = Head(utc_now(running_loop()), {it.name: it.state for it in made})
        keeping = (
            InMemory(self._max_bytes)
            if self._path is None
            else InFile(self._path, self._max_bytes, head_line(head), self._listen_no_longer)
        )
        self._keeping = keeping

        def follow(connection: ConnectionLike) -> None:
            track = _Track(connection, keeping, lambda: clock() - began_at, payloads=self._payloads)
            self._tracks.add(track)
            # A connection that was removed is not held.
            track.begin(on_completed=partial(self._tracks.discard, track))

        self._unfollow = self._follow(follow)
        return keeping

    def __exit__(self, *_: object) -> None:
        assert self._unfollow is not None
        assert self._keeping is not None
        self._unfollow()
        for track in tuple(self._tracks):
            track.end()
        self._keeping.close()

    def _listen_no_longer(self) -> None:
        """Unsubscribes, since the file takes nothing more. A subscriber would keep connections' errors from the log."""
        for track in tuple(self._tracks):
            track.listen_no_longer()

    @property
    def recording(self) -> Recording:
        """The recording so far.

        Raises:
            RuntimeError: If the recorder has not been entered yet.
            OSError: If the file cannot be read.
        """
        if self._head is None or self._keeping is None:
            raise RuntimeError("nothing is recorded yet: enter the recorder with 'with' first")
        for track in tuple(self._tracks):
            track.flush()
        return Recording(self._head, self._keeping.entries)


def _follower_of(
    given: HasConnections | ConnectionLike | Iterable[ConnectionLike],
) -> Callable[[Callable[[ConnectionLike], object]], Callable[[], None]]:
    """A function that calls another one with each connection."""
    if hasattr(type(given), "follow_connections"):
        return cast("HasConnections", given).follow_connections
    connections = tuple(given) if isinstance(given, Iterable) else (cast("ConnectionLike", given),)
    for connection in connections:
        check_connection(connection)

    def follow(tell: Callable[[ConnectionLike], object]) -> Callable[[], None]:
        for connection in connections:
            tell(connection)
        return lambda: None

    return follow


@dataclass(slots=True)
class _Run:
    """Messages, or pulses, that followed closely on each other."""

    common: dict[str, Any]
    began: float
    last: float
    count: int = 0
    size: int = 0


class _Track:
    """Records one connection. It is called on the connection's loop, or in any thread while that does not run."""

    def __init__(
        self, connection: ConnectionLike, keeping: Keeping, now: Callable[[], float], *, payloads: bool
    ) -> None:
        self._connection = connection
        self._side = connection.for_nodes
        self._keeping = keeping
        self._now = now
        self._payloads = payloads
        self._runs: dict[tuple[str, str], _Run] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_sent = partial(self._take_messages, "out")
        self._on_pulse = self._take_pulse
        self._subscriptions = CompositeDisposable()

    def begin(self, on_completed: Callable[[], object]) -> None:
        """Records until `end`, or until the streams of the connection complete, which calls a function."""

        def complete() -> None:
            self.end()
            on_completed()

        sends, pulses = self._side.send_observers, self._side.pulse_observers
        sends.append(self._on_sent)
        pulses.append(self._on_pulse)
        self._subscriptions.add(Disposable(partial(sends.remove, self._on_sent)))
        self._subscriptions.add(Disposable(partial(pulses.remove, self._on_pulse)))
        self._subscriptions.add(self._side.batches(is_binary=None).subscribe(partial(self._take_messages, "in")))
        self._subscriptions.add(self._connection.lifecycle.subscribe(self._take_event, on_completed=complete))

    def end(self) -> None:
        """Records no more."""
        self._subscriptions.dispose()
        self.flush()

    def listen_no_longer(self) -> None:
        """Unsubscribes behind the current notification. Any thread may call it."""
        self._side.run_on_loop(partial(self._side.notify, lambda _: self._subscriptions.dispose(), None))

    def _take_event(self, event: LifecycleEvent) -> None:
        self.flush()
        self._add(self._now(), event)

    def _take_messages(self, direction: Direction, messages: list[str] | list[bytes] | list[str | bytes]) -> None:
        now = self._now()
        if not self._payloads:
            # Received messages are of one kind in each batch; sent ones may be mixed.
            kinds = dict.fromkeys(map(type, messages))
            for kind in kinds:
                of_kind = messages if len(kinds) == 1 else [it for it in messages if type(it) is kind]
                self._join((direction, _kind_of(of_kind[0])), now, len(of_kind), _size(of_kind))
            return
        common: dict[str, Any] = {"direction": direction, **self._common()}
        self._keeping.add(
            *(
                Recorded(now, Message(**common, kind=_kind_of(message), size=_size([message]), payload=message))
                for message in messages
            )
        )

    def _take_pulse(self, node: str) -> None:
        # It may come in any thread, and within a notification that has not reached all subscribers yet.
        self._side.run_on_loop(partial(self._side.notify, self._note_pulse, node))

    def _note_pulse(self, node: str) -> None:
        if self._payloads:
            self._add(self._now(), Pulse(**self._common(), node=node))
        else:
            self._join(("pulse", node), self._now(), 1, 0)

    def _common(self) -> dict[str, Any]:
        it = self._connection
        return {"connection": it.name, "session": it.session, "attempt": it.attempt, "at": self._side.now()}

    def _add(self, when: float, entry: Entry) -> None:
        self._keeping.add(Recorded(when, entry))

    # Runs

    def _join(self, key: tuple[str, str], now: float, count: int, size: int) -> None:
        """Adds to the run of this kind, or begins a new one if that is over."""
        run = self._runs.get(key)
        if run is not None and (now - run.last > CLOSE or now - run.began > LONGEST):
            self._write(key, self._runs.pop(key))
            run = None
        if run is None:
            run = self._runs[key] = _Run(self._common(), began=now, last=now)
            self._flush_later()
        run.last = now
        run.count += count
        run.size += size

    def _flush_later(self) -> None:
        self._loop = loop = running_loop()
        if self._timer is None and loop is not None:
            self._timer = loop.call_later(LONGEST, self.flush)

    def flush(self) -> None:
        """Records the runs so far."""
        timer, self._timer = self._timer, None
        if timer is not None and running_loop() is self._loop:
            timer.cancel()
        runs, self._runs = self._runs, {}
        for key, run in sorted(runs.items(), key=lambda it: it[1].began):
            self._write(key, run)

    def _write(self, key: tuple[str, str], run: _Run) -> None:
        what, name = key
        entry: Entry
        if what == "pulse":
            entry = Pulse(**run.common, node=name, count=run.count)
        else:
            fields: dict[str, Any] = {**run.common, "direction": what, "kind": name, "size": run.size}
            span = round(run.last - run.began, 6)
            entry = Message(**fields) if run.count == 1 else Messages(**fields, count=run.count, span=span)
        self._add(run.began, entry)


def _kind_of(message: str | bytes) -> Kind:
    return "binary" if isinstance(message, bytes) else "text"


def _size(messages: list[str | bytes] | list[str] | list[bytes]) -> int:
    """The bytes of messages that are all of one kind."""
    if isinstance(messages[0], bytes) or all(map(str.isascii, cast("list[str]", messages))):
        return sum(map(len, messages))
    return sum(len(message.encode()) for message in cast("list[str]", messages))


def record(connection: ConnectionLike, *, tick: float = TICK) -> Recording:
    """Records a connection from now on, in memory and with payloads, until the recording is disposed.

    Call it on the event loop. The first tick begins with the call.

    Args:
        connection: The connection.
        tick: The length of a tick in the diagrams, in seconds.

    Returns:
        The recording, which grows, and is a context manager that disposes it.

    Raises:
        TypeError: If `connection` is not a connection.
        RuntimeError: If no event loop runs in this thread.
        ValueError: If the tick is not longer than 0 seconds.

    Example:
        >>> import asyncio
        >>> from rxnodes import Project, Stopped
        >>> from rxnodes.testing import ScriptedTransport, peer_script, run_in_virtual_time
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
    check_connection(connection)
    parse("", letters=(), tick=tick)
    if running_loop() is None:
        raise RuntimeError(
            "a recording goes by an event loop's clock: begin it on the project's loop, in a coroutine, which "
            "project.call() runs in a plain 'with'"
        )
    recorder = Recorder(connection, payloads=True, max_bytes=sys.maxsize)
    return recorder.begin(tick)
