"""Connection, the facade that users see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rxnodes.codecs import as_codec, encode
from rxnodes.connection.driver import Driver
from rxnodes.connection.sides import DriverForNodes, DriverForProject
from rxnodes.lifecycle.events import ErrorEvent
from rxnodes.lifecycle.inputs import Abort, Start, Stop
from rxnodes.lifecycle.states import check_close
from rxnodes.rx.arguments import UNSET
from rxnodes.rx.filtered import Filtered

if TYPE_CHECKING:
    from typing import TypeAlias

    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import Codec, CodecName, CodecOf
    from rxnodes.connection.before_connect import Preparation
    from rxnodes.connection.greeting import Login
    from rxnodes.connection.protocols import NodeSide, ProjectSide
    from rxnodes.lifecycle.events import LifecycleEvent, Opened, Stopped
    from rxnodes.lifecycle.policy import Policy
    from rxnodes.lifecycle.states import ConnectionState
    from rxnodes.transport.base import Target, Transport
    from rxnodes.transport.receipts import Receipt, SendOutcome

    Binary: TypeAlias = bytes | bytearray | memoryview
    """What can be sent as a binary message. It is copied where it could change."""

__all__ = ["Connection"]


class Connection:
    """A configuration at run time: it can be started and stopped many times.

    Projects make connections; `project.websocket("chat")` gives the one of that name. All commands return at once,
    never block, and may be called from any thread. On the loop's own thread they take effect before they return. The
    streams are hot. They never error, and complete when the project closes or the connection is removed from it.

    Attributes:
        name: The configuration's name.
        codec: Writes and reads messages for nodes that name no other codec; `None`: messages stay as they are.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = chat.states.subscribe(lambda state: print(state.name))
        IDLE
    """

    __slots__ = ("__weakref__", "_driver", "_for_nodes", "_outbound", "codec", "name")

    def __init__(  # noqa: PLR0913 - a connection is put together from these
        self,
        name: str,
        target: Target,
        policy: Policy,
        transport: Transport,
        preparation: Preparation | None = None,
        *,
        codec: Codec[Any] | None = None,
        login: Login | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self._driver = Driver(name, target, policy, transport, preparation, login)
        self._for_nodes: NodeSide | None = None
        # For `send`, which is called once for each message.
        self._outbound = self._driver.outbound

    def __repr__(self) -> str:
        return f"<Connection {self.name!r} {self.state.value}, session {self.session}>"

    # What it is

    @property
    def state(self) -> ConnectionState:
        """The state at this moment. It may be ahead of what `states` has delivered."""
        return self._driver.state.phase.state

    @property
    def session(self) -> int:
        """The number of the live or last session; 0 before the first start."""
        return self._driver.state.session

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt within the session."""
        return self._driver.state.attempt

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet."""
        return self._driver.is_live

    @property
    def last_stopped(self) -> Stopped | None:
        """The `Stopped` of the last session that is over."""
        return self._driver.waiters.last_stopped

    @property
    def last_opened(self) -> Opened | None:
        """The last `Opened` of any session."""
        return self._driver.waiters.last_opened

    # Its streams

    @property
    def states(self) -> Observable[ConnectionState]:
        """The state: the last one delivered for each new subscriber, then every change.

        ::

            commands:                 -----start-------------stop-----------
            states:                   idle-connecting-open---closing-closed-
            states, to a later one:                     open-closing-closed-
        """
        return self._driver.publisher.states

    @property
    def lifecycle(self) -> Observable[LifecycleEvent]:
        """Every lifecycle event, in order.

        ::

            commands:   -start----------------------------------stop--------
            the peer:   -------accepts--resets----------accepts------closes-
            lifecycle:  -C-----O--------(ED)----C-------O-------X----S------

        `C` is `Connecting`, `O` `Opened`, `E` `ErrorEvent`, `D` `Dropped`, `X` `Closing`, and `S` `Stopped`.
        """
        return self._driver.publisher.lifecycle

    @property
    def messages(self) -> Observable[str | bytes]:
        """Every message as it came: `str` for text, `bytes` for binary; of all sessions, one after the other.

        ::

            states:       open-----------closing----closed-connecting-open----
            on the wire:  ---"a"--b"b"----------"c"-----------------------"d"-
            messages:     ---"a"--b"b"----------"c"-----------------------"d"-
        """
        return self._driver.inbound.messages

    @property
    def errors(self) -> Observable[ErrorEvent]:
        """Every `ErrorEvent`.

        ::

            what goes wrong:  --refused-------reset-------
            errors:           --E(connect)----E(receive)--
        """
        return Filtered(self._driver.publisher.lifecycle, ErrorEvent)

    @property
    def latency(self) -> Observable[float]:
        """The round-trip time of each heartbeat's ping, in seconds.

        ::

            pings:    --1-------2-------3-------
            pongs:    ----1------2---------3----
            latency:  ----0.2----0.1-------0.3--
        """
        return self._driver.publisher.latency

    @property
    def sends(self) -> Observable[SendOutcome]:
        """The outcome of each message that was sent with a tag: `Sent`, `SendDropped` or `Unsent`.

        ::

            send(tag=):                 --"a"--none--"b"----------------
            left for the network:       --"a"--------------the end------
            sends:                      --Sent("a")--------Unsent("b")--
        """
        return self._outbound.outcomes

    # Commands

    def start(self) -> None:
        """Begins a session.

        While one is connecting or open, this does nothing. While one is closing, the next begins once it has stopped.

        Raises:
            RxNodesError: If the project is not open yet. Once it is being left, or the connection removed, this
                does nothing.
        """
        self._driver.command(Start())

    def send(
        self,
        message: object,
        *,
        is_binary: bool | None = None,
        codec: CodecOf[Any] | CodecName | TypeForm[Any] | None = UNSET,
        tag: object = None,
    ) -> Receipt:
        """Sends a message.

        Where the connection is not open, an `ErrorEvent` of phase `send` says so, unless `send_queue.while_connecting`
        lets messages wait. So does one where the send queue is full.

        Args:
            message: The message. A `bytearray` or `memoryview` is copied, and counts as `bytes`. With a codec, a value.
            is_binary: `None`: a `str` goes as a text message, `bytes` as a binary one. `False`: a text message, from a
                `str`. `True`: a binary message; a `str` is encoded as UTF-8.
            codec: Writes the message: `"json"`, `"msgpack"`, a type (a pydantic model, a dataclass, `list[int]`, ...),
                a pair of functions `(encode, decode)`, or a `Codec`. `None`: none. Left out: the connection's own, if
                its settings name one, unless `is_binary` is `True` or `False`.
            tag: Anything but `None`: `sends` emits the outcome of the message, with this tag.

        Returns:
            The message's receipt. Awaiting it gives the outcome of the message; it can be ignored.

        Raises:
            TypeError: If the message is of the wrong type, or `codec` is no codec, or is given together with
                `is_binary`.
            ValueError: If a `str` holds an unpaired surrogate, which UTF-8 cannot encode; if the codec cannot encode
                the value; if no codec has that name, or the package it needs is not installed.
        """
        if codec is UNSET:
            codec = self.codec if is_binary is None else None
        if codec is not None:
            if is_binary is not None:
                raise TypeError(
                    "is_binary is for raw messages: a codec decides for itself what goes as text and what as binary"
                )
            message = encode(as_codec(cast("CodecOf[Any]", codec)), message)
        return self._outbound.take(message, is_binary, tag)

    def stop(self, *, code: int = 1000, reason: str = "") -> None:
        """Begins to end the session, and returns. `Stopped` tells when it is over.

        What was sent before goes out first. What comes until the peer's Close frame is still delivered. A dial under
        way, and a retry that waits, are cancelled.

        Args:
            code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: If the code must not be sent, or the reason does not fit.
            RxNodesError: If the project is not open yet. Once it has been left, or the connection removed, this does
                nothing.
        """
        check_close(code, reason)
        self._driver.command(Stop(code, reason))

    def abort(self) -> None:
        """Ends the session without a closing handshake. `Stopped` tells when it is over.

        Raises:
            RxNodesError: If the project is not open yet. Once it has been left, or the connection removed, this does
                nothing.
        """
        self._driver.command(Abort())

    # Waiting

    async def wait_started(self) -> Opened:
        """Waits until the live session is open.

        Returns:
            The session's last `Opened`, at once if there is one. If no session is live, that of the last one.

        Raises:
            ConnectError: If the session ended without ever being open.
            RxNodesError: If the project closed, or the connection was removed, before a first start.
        """
        return await self._driver.waiters.opened()

    async def wait_stopped(self) -> Stopped:
        """Waits until the live session is over and every subscriber has seen its `Stopped`.

        Returns:
            The live session's `Stopped`. If none is live, the last one, at once. Before the first start, it waits.

        Raises:
            RxNodesError: If the project closed, or the connection was removed, before a first start.
        """
        return await self._driver.waiters.stopped()

    # For nodes and projects

    @property
    def for_nodes(self) -> NodeSide:
        """What nodes need beyond this. It is kept, because each request needs it."""
        if self._for_nodes is None:
            self._for_nodes = DriverForNodes(self._driver)
        return self._for_nodes

    @property
    def for_project(self) -> ProjectSide:
        """What the project and its scenes need beyond this."""
        return DriverForProject(self._driver)
