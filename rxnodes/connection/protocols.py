"""What nodes and projects need of a connection.

They know it only by these protocols, so that another kind of connection can stand in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.errors import RxNodesError, SendError
    from rxnodes.lifecycle.events import Connecting, ErrorEvent, ErrorPhase, LifecycleEvent, Opened, Stopped, Traffic
    from rxnodes.lifecycle.states import ConnectionState
    from rxnodes.transport.receipts import Receipt, SharedOutcome

__all__ = ["ConnectionLike", "Helm", "NodeSide", "ProjectSide", "Steering", "check_connection"]

T = TypeVar("T")


class ConnectionLike(Protocol):
    """What nodes and recordings take: a `Connection`, or any other kind of connection.

    `Connection` says in full what each member does.
    """

    @property
    def name(self) -> str:
        """The configuration's name."""
        ...

    @property
    def codec(self) -> Codec[Any] | None:
        """Writes and reads messages for nodes that name no other codec."""
        ...

    @property
    def state(self) -> ConnectionState:
        """The state at this moment."""
        ...

    @property
    def session(self) -> int:
        """The number of the live or last session."""
        ...

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet."""
        ...

    @property
    def last_opened(self) -> Opened | None:
        """The last `Opened`."""
        ...

    @property
    def last_stopped(self) -> Stopped | None:
        """The `Stopped` of the last session that is over."""
        ...

    @property
    def states(self) -> Observable[ConnectionState]:
        """The state: the last one delivered for each new subscriber, then every change."""
        ...

    @property
    def lifecycle(self) -> Observable[LifecycleEvent]:
        """Every lifecycle event, in order."""
        ...

    @property
    def messages(self) -> Observable[str | bytes]:
        """Every message as it came."""
        ...

    @property
    def errors(self) -> Observable[ErrorEvent]:
        """Every `ErrorEvent`."""
        ...

    @property
    def latency(self) -> Observable[float]:
        """The round-trip time of each heartbeat's ping, in seconds."""
        ...

    def start(self) -> None:
        """Begins a session."""
        ...

    def send(self, message: object, *, is_binary: bool | None = ..., codec: Any = ..., tag: object = ...) -> Receipt:
        """Sends a message, or with a codec a value."""
        ...

    def stop(self, *, code: int, reason: str) -> None:
        """Begins to end the session."""
        ...

    @property
    def for_nodes(self) -> NodeSide:
        """What nodes need beyond this."""
        ...


class NodeSide(Protocol):
    """What nodes need of a connection beyond what users see."""

    @property
    def ended(self) -> Observable[object]:
        """Emits when no session is live any more: behind all subscribers of `lifecycle`, which saw the `Stopped`."""
        ...

    def find_out(self) -> None:
        """Finds out how the connection stands, for a program that waits for its end. From any thread.

        Until that is known here, the connection counts as live.
        """
        ...

    @property
    def gaps(self) -> Observable[LifecycleEvent]:
        """Gaps that the connection itself knows of, as a fleet's connection does that is seen from outside."""
        ...

    @property
    def holding(self) -> Observable[bool]:
        """Whether the connection is held by this process: the last value for each new subscriber, then every change."""
        ...

    @property
    def texts(self) -> Observable[str]:
        """Every message as `str`; a binary one is decoded as UTF-8, or is an `ErrorEvent` of phase `receive`."""
        ...

    @property
    def binaries(self) -> Observable[bytes]:
        """Every message as `bytes`; a text one as its UTF-8."""
        ...

    @property
    def is_delivering(self) -> bool:
        """Whether a notification is being delivered. On the loop's thread only."""
        ...

    def batches(self, *, is_binary: bool | None) -> Observable[Any]:
        """The messages of each read of the socket as a list: of `str`, of `bytes`, or as they came.

        A read that brought very many gives several lists.
        """
        ...

    def values(self, codec: Codec[Any], *, batched: bool = False) -> Observable[Any]:
        """Every message as a codec reads it; batched, those of one read of the socket as a list.

        A message that does not fit is an `ErrorEvent` of phase `receive`. Everybody with the same codec shares one
        stream while it is in use, so that a message is decoded once, and reported once.
        """
        ...

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """The object that the connection's nodes share under a key: made when it is needed, kept while it is held."""
        ...

    @property
    def pulse_observers(self) -> list[Callable[[str], object]]:
        """Called with an action node's name whenever it is about to execute, in whatever thread. None may raise."""
        ...

    @property
    def send_observers(self) -> list[Callable[[list[str | bytes]], None]]:
        """Called, as notifications, with messages that have left for the network, without those of a login."""
        ...

    def now(self) -> datetime:
        """The time of day in UTC, as the connection's events have it."""
        ...

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread: at once where that is this one, or where there is no loop (any more)."""
        ...

    def notify(self, deliver: Callable[[T], None], value: T) -> None:
        """Delivers a node's own notification behind the one under way. On the loop's thread only."""
        ...

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`. It changes no state."""
        ...

    def report_unwritten(self, error: SendError, tag: object) -> None:
        """Publishes the error that kept a message from being written, and for a tag a `SendDropped`."""
        ...

    def on_handler_error(self, error: BaseException) -> None:
        """Reports what a subscriber to a node's own stream has raised."""
        ...


class ProjectSide(Protocol):
    """What the project, its scenes and telemetry need of a connection beyond what users see."""

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """The number of the live or last session, and what it has carried so far, without its logins.

        In another thread, the traffic of the last attempt may be missing for a moment while that attempt ends.
        """
        ...

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets the connection live on `loop`, which runs in the thread of that identifier."""
        ...

    def shutdown(self) -> None:
        """Stops the connection for good: the project is being left, or the connection removed."""
        ...

    @property
    def helm(self) -> Helm | None:
        """What steers the connection from outside; `None`: nothing does."""
        ...

    def steer(self, steering: Steering) -> Helm:
        """Lets the connection be steered from outside. Called before the connection is used."""
        ...

    def abort(self) -> None:
        """Aborts the session that is live in this process. A project that is being left waits for nothing else."""
        ...

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Sets the result of a future, which may belong to another loop, to what `wait_stopped` waits for."""
        ...

    def detach(self) -> None:
        """Completes all streams: no session is live, and none will be."""
        ...

    def disown(self) -> None:
        """Called in a forked process, where the connection is the parent's: commands are refused from here on."""
        ...


class Steering(Protocol):
    """Steers a connection from outside, as the worker of a fleet does.

    It decides when sessions begin and end, and acts by the `Helm` that it gets. All methods are called on the
    connection's loop, and must neither raise nor block.
    """

    @property
    def is_live(self) -> bool:
        """Whether a session is live in any process, or a command that was given here has no known result yet.

        A session that is live at this connection itself need not count. When this becomes false, `Helm.note` is called.
        """
        ...

    def find_out(self) -> None:
        """Finds out how the connection stands, for a program that waits. Until then the connection counts as live."""
        ...

    def start(self) -> None:
        """A program in this process starts the connection."""
        ...

    def stop(self, code: int, reason: str) -> None:
        """A program in this process stops the connection."""
        ...

    def abort(self) -> None:
        """A program in this process aborts the connection, which is not held here."""
        ...

    def send(self, receipt: Receipt) -> None:
        """A program in this process sends a message, and the connection is not held here. `Helm.settle` answers."""
        ...

    def shutdown(self) -> None:
        """The project is being left, or the connection removed: no session begins here any more.

        The connection stops a live session by itself, and waits until `before_stopped` has released its `Stopped`.
        """
        ...

    def before_dial(self, connecting: Connecting, go: Callable[[], None]) -> None:
        """An attempt begins. It dials when `go` is called, which may be at once, unless it has ended meanwhile."""
        ...

    def before_stopped(self, stopped: Stopped, release: Callable[[Stopped | None], None]) -> None:
        """The session is over. Its `Stopped` is published when `release` is called, which may be at once.

        `release(stopped)` publishes it. `release(None)` says that the session is not this worker's any more: then an
        `ErrorEvent` with a `HolderLost` is published instead, and programs that wait get a `Stopped` with it.
        """
        ...

    def saw(self, event: LifecycleEvent) -> None:
        """Called with every other lifecycle event of the connection, in order, right before its subscribers."""
        ...


class Helm(Protocol):
    """What `Steering` steers a connection by. All methods are called on the connection's loop."""

    @property
    def is_held(self) -> bool:
        """Whether the connection is held here."""
        ...

    def hold(self) -> None:
        """The connection is held here from now on: it sends messages from here, and `holding` says so."""
        ...

    def let_go(self) -> None:
        """The connection is not held here any more. `holding` says so behind all earlier notifications."""
        ...

    def begin(self, session: int) -> None:
        """Begins the session of that number, which is higher than all before. None may be live here.

        While a `Stopped` is being delivered, it begins behind that. Once the project is being left, it does nothing.
        """
        ...

    def stop(self, code: int, reason: str) -> None:
        """Begins to end the live session, as `Connection.stop` does where nothing steers the connection."""
        ...

    def abort(self) -> None:
        """Ends the live session without a closing handshake."""
        ...

    def tell(self, stopped: Stopped) -> None:
        """Publishes the `Stopped` of a session that another worker could not end. None may be live here."""
        ...

    def note(self, event: Opened | Stopped | None = None) -> None:
        """Answers programs that wait for an event which has happened in another process. Event nodes do not fire.

        Also called, without an event, when `Steering.is_live` has become false.
        """
        ...

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`. It changes no state."""
        ...

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Gives the outcome of a message that was sent through `Steering.send`.

        The kind `SendUnknown` says that nobody knows it: awaiting the receipt raises that, and an `ErrorEvent` says so.
        """
        ...


def check_connection(value: object) -> None:
    """Refuses an argument of a node, a scene or a recording that is no connection.

    Raises:
        TypeError: If it has nothing for nodes.
    """
    # Of the type, because a property of the object would be evaluated.
    if not hasattr(type(value), "for_nodes"):
        raise TypeError(
            f"expected a Connection, got {type(value).__name__}; a project gives connections by their names,"
            ' as in project.websocket("chat")'
        )
