"""What nodes and projects need of a connection.

They know these protocols and nothing else of it, so that another kind of connection can stand in its place.
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
    """What nodes and recordings take: a `Connection`, or anything else that keeps this.

    `Connection` says in full what each member does.
    """

    @property
    def name(self) -> str:
        """The configuration's name."""
        ...

    @property
    def codec(self) -> Codec[Any] | None:
        """What messages are written and read with where nothing else is said."""
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
        """Somebody waits for the end, from any thread. Where it is not known here, it counts as live until it is."""
        ...

    @property
    def gaps(self) -> Observable[LifecycleEvent]:
        """Gaps that the connection knows of by itself, as one of a fleet does that is seen from outside."""
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
        """The messages of one read of the socket as a list: of `str`, of `bytes`, or as they came.

        A read that brought very many is shown as several lists.
        """
        ...

    def values(self, codec: Codec[Any], *, batched: bool = False) -> Observable[Any]:
        """What a codec reads of every message, or of the list of those that one read of the socket brought.

        A message that does not fit is an `ErrorEvent` of phase `receive`. All who ask for the same codec share one
        stream while it is in use, so that a message is decoded once, and reported once.
        """
        ...

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What the connection's nodes have in common under a key: made when it is asked for, kept while it is held."""
        ...

    @property
    def pulse_observers(self) -> list[Callable[[str], object]]:
        """Called with an action node's name whenever it is about to execute, in whatever thread. None may raise."""
        ...

    @property
    def send_observers(self) -> list[Callable[[list[str | bytes]], None]]:
        """Called with messages that have left for the network, but for those of a login; as notifications."""
        ...

    def now(self) -> datetime:
        """The time of day in UTC, as the connection's events have it."""
        ...

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread: at once where that is this one, or where there is no loop (any more)."""
        ...

    def notify(self, deliver: Callable[[T], None], value: T) -> None:
        """Delivers a node's own notification in its turn, behind the one under way. On the loop's thread only."""
        ...

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`. It changes no state."""
        ...

    def report_unwritten(self, error: SendError, tag: object) -> None:
        """Publishes what kept a message from being written, and for a tag that nothing became of the message."""
        ...

    def on_handler_error(self, error: BaseException) -> None:
        """Reports what a subscriber to a node's own stream raised."""
        ...


class ProjectSide(Protocol):
    """What the project, its scenes and telemetry need of a connection beyond what users see."""

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """The number of the live or last session, and what it has carried so far, without its logins.

        It may be read from any thread. Then what the last attempt carried may be missing for a moment while that ends.
        """
        ...

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets the connection live on `loop`, which runs in the thread of that identifier."""
        ...

    def shutdown(self) -> None:
        """Stops the connection, and starts it never again: the project is being left, or the connection removed."""
        ...

    @property
    def helm(self) -> Helm | None:
        """What the connection is steered by, where it is steered from outside."""
        ...

    def steer(self, steering: Steering) -> Helm:
        """Lets the connection be steered from outside; before it is used for anything."""
        ...

    def abort(self) -> None:
        """Aborts what is live in this process. Where the project is being left, nothing else is waited for."""
        ...

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Gives a future, of whatever loop, what `wait_stopped` waits for."""
        ...

    def detach(self) -> None:
        """Completes all streams: the end is for good, and no session is live any more."""
        ...

    def disown(self) -> None:
        """In a forked process: the connection is the parent's. Commands are refused, and the rest does nothing."""
        ...


class Steering(Protocol):
    """What steers a connection from outside: the worker of a fleet.

    It decides when sessions begin and end, and says so by the `Helm` that it is given. All of it is called on the
    connection's loop, and must neither raise nor block.
    """

    @property
    def is_live(self) -> bool:
        """Whether a session is live anywhere, as far as is known, or what a command given here leads to is not known.

        What is live at this connection itself need not count. When this becomes false, `Helm.note` is called.
        """
        ...

    def find_out(self) -> None:
        """Somebody waits for how the connection stands. Until that is known here it counts as live."""
        ...

    def start(self) -> None:
        """A start was asked for here."""
        ...

    def stop(self, code: int, reason: str) -> None:
        """A stop was asked for here."""
        ...

    def abort(self) -> None:
        """An end without ceremony was asked for here, and the connection is not held here."""
        ...

    def send(self, receipt: Receipt) -> None:
        """A message is to be sent, and the connection is not held here. `Helm.settle` says what became of it."""
        ...

    def shutdown(self) -> None:
        """The project is being left, or the connection removed: nothing begins here any more.

        A session under way is stopped by itself. Its `Stopped` comes to `before_stopped`, and is waited for.
        """
        ...

    def before_dial(self, connecting: Connecting, go: Callable[[], None]) -> None:
        """An attempt begins. It dials when `go` is called, which may be at once; never, if it has ended meanwhile."""
        ...

    def before_stopped(self, stopped: Stopped, release: Callable[[Stopped | None], None]) -> None:
        """The session is over, and nobody is told before `release` is called, which may be at once.

        `release(stopped)` tells it. `release(None)` does not, because the session is not this worker's any more: then
        an `ErrorEvent` with a `HolderLost` is told in its place, and those who wait for the end are answered with that.
        """
        ...

    def saw(self, event: LifecycleEvent) -> None:
        """Every other lifecycle event that the connection makes, in order, right before its subscribers are told."""
        ...


class Helm(Protocol):
    """What a connection is steered by. All of it is called on the connection's loop."""

    @property
    def is_held(self) -> bool:
        """Whether the connection is held here."""
        ...

    def hold(self) -> None:
        """From here on the connection is held here: messages are sent from here, and `holding` says so."""
        ...

    def let_go(self) -> None:
        """From here on it is not. What was told before is delivered before `holding` says so."""
        ...

    def begin(self, session: int) -> None:
        """Begins the session of that number, which is higher than all before; only where none is live here.

        While a `Stopped` is being delivered it begins behind that. Once the project is being left it does nothing.
        """
        ...

    def stop(self, code: int, reason: str) -> None:
        """Begins to end the live session, as `Connection.stop` does by itself."""
        ...

    def abort(self) -> None:
        """Ends the live session without ceremony, as `Connection.abort` does by itself."""
        ...

    def tell(self, stopped: Stopped) -> None:
        """Tells the `Stopped` of a session that another had begun and could not end; only where none is live here."""
        ...

    def note(self, event: Opened | Stopped | None = None) -> None:
        """What has happened elsewhere, if anything: event nodes do not fire, but those who wait for it are answered.

        Also called, without an event, when `Steering.is_live` has become false.
        """
        ...

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`. It changes no state."""
        ...

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Says what became of a message that was sent through `Steering.send`.

        With the kind `SendUnknown`: that nobody knows. Whoever awaits the receipt is told so, and everybody is, by an
        `ErrorEvent`.
        """
        ...


def check_connection(value: object) -> None:
    """Refuses what is no connection, where a node, a scene or a recording needs one.

    Raises:
        TypeError: If it has nothing for nodes.
    """
    # Asked of the type: a property would be evaluated.
    if not hasattr(type(value), "for_nodes"):
        raise TypeError(
            f"expected a Connection, got {type(value).__name__}; a project gives connections by their names,"
            ' as in project.websocket("chat")'
        )
