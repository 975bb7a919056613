"""RemoteConnection: what users see of a connection that a worker of a fleet holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rxnodes.codecs import as_codec, encode
from rxnodes.connection.outbound import to_payload
from rxnodes.connection.sides import DriverForNodes
from rxnodes.fleet.remote.commander import Command
from rxnodes.fleet.rules.values import ABORT
from rxnodes.lifecycle.events import ErrorEvent, Traffic
from rxnodes.lifecycle.states import check_close
from rxnodes.rx.arguments import UNSET
from rxnodes.rx.filtered import Filtered
from rxnodes.transport.receipts import Receipt

if TYPE_CHECKING:
    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import Codec, CodecName, CodecOf
    from rxnodes.connection.protocols import NodeSide
    from rxnodes.fleet.remote.driver import RemoteDriver
    from rxnodes.lifecycle.events import LifecycleEvent, Opened, Stopped
    from rxnodes.lifecycle.states import ConnectionState
    from rxnodes.transport.receipts import SendOutcome

__all__ = ["RemoteConnection"]


class RemoteConnection:
    """A connection of a fleet, as it is seen from outside. All nodes take it as they take a `Connection`.

    It emits what the fleet's log says: each entry once, in order, whatever restarts meanwhile. Where entries are
    missing, `on_gap` emits a `Gap` in their place. A command is written down for the worker that holds the connection,
    or will hold it. Until its outcome is in the log, the connection counts as live, for `wait_started`, `wait_stopped`,
    `all_stopped` and `until_stopped` too. All commands return at once, from any thread.

    Messages come at most once. They are published for those who are interested: while nobody subscribes to them,
    nothing is sent here. What is missed is a `Gap` of `on_gap`.

    Attributes:
        name: The connection's name.
        codec: `None`: a codec of the workers' settings does not count here. Where none is given, messages are read as
            `str`.

    Example:
        >>> from rxnodes.fleet import Fleet
        >>> chat = Fleet.connect("nats://127.0.0.1:4222", name="feeds").websocket("chat")
        >>> subscription = chat.states.subscribe(lambda state: print(state.name))
        IDLE
    """

    __slots__ = ("__weakref__", "_driver", "_for_nodes", "codec", "name")

    def __init__(self, driver: RemoteDriver) -> None:
        self.name = driver.name
        self.codec: Codec[Any] | None = None
        self._driver = driver
        self._for_nodes: NodeSide | None = None

    def __repr__(self) -> str:
        return f"<RemoteConnection {self.name!r} {self.state.value}, session {self.session}>"

    # What it is

    @property
    def state(self) -> ConnectionState:
        """The state, as far as it is known here. It may lag behind what the holder knows."""
        return self._driver.standing.state

    @property
    def session(self) -> int:
        """The number of the live or last session, or of the one that is asked for; 0: there was none."""
        return self._driver.session

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt within the live or last session."""
        return self._driver.standing.tail.attempt

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet.

        Also while what a command leads to is not in the log yet, and before the log has been read.
        """
        return self._driver.is_live

    @property
    def last_stopped(self) -> Stopped | None:
        """The `Stopped` of the last session that is over.

        Where the log has lost that entry, its code is 1006, its totals are 0, and its error says so.
        """
        return self._driver.waiters.last_stopped

    @property
    def last_opened(self) -> Opened | None:
        """The last `Opened`, of whatever session, as far as the log still has it."""
        return self._driver.waiters.last_opened

    # What it tells

    @property
    def states(self) -> Observable[ConnectionState]:
        """The state: the last one told for each new subscriber, then every change."""
        return self._driver.publisher.states

    @property
    def lifecycle(self) -> Observable[LifecycleEvent]:
        """Every lifecycle event, in order. Where some are missing, `on_gap` says so."""
        return self._driver.publisher.lifecycle

    @property
    def messages(self) -> Observable[str | bytes]:
        """Every message as it came: `str` for text, `bytes` for binary."""
        return self._driver.inbound.messages

    @property
    def errors(self) -> Observable[ErrorEvent]:
        """Every `ErrorEvent`: those of the holder, and those of what is done here."""
        return Filtered(self._driver.publisher.lifecycle, ErrorEvent)

    @property
    def latency(self) -> Observable[float]:
        """Emits nothing: the heartbeats are the holder's."""
        return self._driver.publisher.latency

    @property
    def sends(self) -> Observable[SendOutcome]:
        """What became of each message that was sent here with a tag, as far as anybody knows."""
        return self._driver.outbound.outcomes

    # Commands

    def start(self) -> None:
        """Begins a session. While one is connecting or open, nothing; while one is closing, once it has stopped.

        Raises:
            RxNodesError: If the fleet is not entered yet. Once it has been left, this does nothing.
        """
        self._driver.order(Command(is_start=True))

    def send(
        self,
        message: object,
        *,
        is_binary: bool | None = None,
        codec: CodecOf[Any] | CodecName | TypeForm[Any] | None = UNSET,
        tag: object = None,
    ) -> Receipt:
        """Sends a message through the worker that holds the connection, as that would send it by itself.

        Args:
            message: As in `Connection.send`.
            is_binary: As in `Connection.send`.
            codec: As in `Connection.send`; left out, none.
            tag: As in `Connection.send`.

        Returns:
            The message's receipt. Awaiting it gives what became of the message, or raises `SendUnknown` where no answer
            came. No message is ever sent twice.

        Raises:
            TypeError, ValueError: As in `Connection.send`.
            RxNodesError: If the fleet is not entered yet.
        """
        if codec is not UNSET and codec is not None:
            if is_binary is not None:
                raise TypeError("expected is_binary or codec, got both: a codec decides what goes as text")
            message = encode(as_codec(cast("CodecOf[Any]", codec)), message)
        payload, is_text = to_payload(message, is_binary=is_binary)
        receipt = Receipt(self._driver.outbound, payload, is_text, tag)
        self._driver.loop.check()
        self._driver.loop.run(lambda: self._driver.outbound.send(receipt))
        return receipt

    def stop(self, *, code: int = 1000, reason: str = "") -> None:
        """Begins to end the session, wherever it is held. `Stopped` tells when it is over.

        Args:
            code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: If the code must not be sent, or the reason does not fit.
            RxNodesError: If the fleet is not entered yet. Once it has been left, this does nothing.
        """
        check_close(code, reason)
        self._driver.order(Command(is_start=False, code=code, reason=reason))

    def abort(self) -> None:
        """Ends the session without a closing handshake. `Stopped` tells when it is over.

        Raises:
            RxNodesError: If the fleet is not entered yet. Once it has been left, this does nothing.
        """
        self._driver.order(Command(is_start=False, code=ABORT))

    # Waiting

    async def wait_started(self) -> Opened:
        """Waits until the live session is open.

        Returns:
            The session's last `Opened`, at once when there is one; when no session is live, that of the last one.

        Raises:
            ConnectError: If the session ended without ever being open.
            RxNodesError: If the fleet was left before a first start.
        """
        return await self._driver.waiters.opened()

    async def wait_stopped(self) -> Stopped:
        """Waits until the live session is over and every subscriber here has seen its `Stopped`.

        Returns:
            The live session's `Stopped`; when none is live, the last one, at once. Before the first start it waits.

        Raises:
            RxNodesError: If the fleet was left before a first start.
        """
        return await self._driver.waiters.stopped()

    # What is not for users

    @property
    def for_nodes(self) -> NodeSide:
        """What nodes need beyond this."""
        if self._for_nodes is None:
            self._for_nodes = DriverForNodes(self._driver)
        return self._for_nodes

    @property
    def for_project(self) -> DriverForScenes:
        """What scenes and the live page need beyond this."""
        return DriverForScenes(self._driver)


class DriverForScenes:
    """What scenes and the live page need of a connection of a fleet, on its driver."""

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self.tell_stopped = driver.waiters.tell_stopped

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """What the live or last session has carried, as far as it is known here: when it is over."""
        session, stopped = self._driver.standing.tail.session, self._driver.waiters.last_stopped
        if stopped is None or stopped.session != session:
            return session, Traffic()
        return session, Traffic(*(getattr(stopped, name) for name in Traffic._fields))
