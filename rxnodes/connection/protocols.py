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
    from rxnodes.lifecycle.events import ErrorEvent, ErrorPhase, LifecycleEvent, Opened, Stopped, Traffic
    from rxnodes.lifecycle.states import ConnectionState
    from rxnodes.transport.receipts import Receipt

__all__ = ["ConnectionLike", "NodeSide", "ProjectSide", "check_connection"]

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
    def ended(self) -> Observable[Stopped]:
        """Every `Stopped`, once all subscribers of `lifecycle` have seen it: then no session is live."""
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

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Gives a future, of whatever loop, what `wait_stopped` waits for."""
        ...

    def detach(self) -> None:
        """Completes all streams: the end is for good, and no session is live any more."""
        ...

    def disown(self) -> None:
        """In a forked process: the connection is the parent's. Commands are refused, and the rest does nothing."""
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
