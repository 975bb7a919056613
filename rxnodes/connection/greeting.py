"""The `Greeting`, which `after_connect` logs in with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from rxnodes.rx.arguments import UNSET

if TYPE_CHECKING:
    from multidict import CIMultiDict
    from typing_extensions import TypeForm

    from rxnodes.codecs import Codec, CodecName, CodecOf, V
    from rxnodes.connection.before_connect import Attempt
    from rxnodes.connection.logging_in import LoggingIn
    from rxnodes.connection.matching import Match
    from rxnodes.lifecycle.inputs import HandshakeDone

__all__ = ["AfterConnect", "Greeting", "Login"]


class Greeting:
    """What `after_connect` logs in with, before the attempt counts as open.

    It belongs to the hook's own event loop, and is over when the hook is: used later, it raises `RxNodesError`. Several
    tasks of the hook may use it at once.

    Attributes:
        attempt: The attempt, as `before_connect` gets it.

    Example:
        >>> import asyncio
        >>> from rxnodes import Project
        >>> from rxnodes.testing import ScriptedTransport, peer_script, run_in_virtual_time
        >>> async def log_in(greeting: Greeting) -> None:
        ...     await greeting.send("my token")
        ...     await greeting.receive(lambda text: text == "welcome")
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(peer_script("-o?a-m", values={"a": "welcome"}, messages=["news"]))
        ...     settings = {"url": "ws://chat.test/", "after_connect": log_in}
        ...     async with Project(websocket={"chat": settings}, transport=transport) as project:
        ...         chat = project.websocket("chat")
        ...         chat.messages.subscribe(print)
        ...         chat.start()
        ...         await chat.wait_started()
        ...         print("open")
        ...         await asyncio.sleep(1)
        >>> run_in_virtual_time(main())
        open
        news
    """

    __slots__ = ("_handshake", "_login", "attempt")

    def __init__(self, login: LoggingIn, attempt: Attempt, handshake: HandshakeDone) -> None:
        self._login = login
        self._handshake = handshake
        self.attempt = attempt

    def __repr__(self) -> str:
        attempt = self.attempt
        return f"<Greeting of {attempt.connection!r}, session {attempt.session}, attempt {attempt.attempt}>"

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose; `None`: none."""
        return self._handshake.subprotocol

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers of the server's answer to the handshake, as `Opened` has them."""
        return self._handshake.headers

    async def send(self, value: object, *, codec: CodecOf[Any] | CodecName | TypeForm[Any] | None = UNSET) -> None:
        """Sends a message, and returns once it has left for the network.

        Args:
            value: The message: a value for the codec, or where there is none a `str`, which goes as a text message, or
                `bytes`, which go as a binary one.
            codec: As in `Connection.send`: left out, the connection's own. `None`: none.

        Raises:
            SendError: If the send queue has no room for it.
            ConnectError: If the connection ends before it has left; with `code` and `reason` if the peer has closed.
            RxNodesError: If the login is over.
            TypeError: If the message is of the wrong type.
            ValueError: If the codec cannot encode the value.
        """
        await self._login.send(value, codec)

    @overload
    async def receive(self, match: Match[str | bytes] | None = None, *, codec: None) -> str | bytes: ...
    @overload
    async def receive(self, match: Match[Any] | None = None, *, codec: CodecName = UNSET) -> Any: ...
    @overload
    async def receive(self, match: Match[V] | None = None, *, codec: CodecOf[V]) -> V: ...
    @overload
    async def receive(self, match: Match[V] | None = None, *, codec: TypeForm[V]) -> V: ...
    async def receive(self, match: Match[Any] | None = None, *, codec: Any = UNSET) -> Any:
        """Takes the next message that matches. Nobody else sees that one.

        Those that do not match are kept, in order: for another `receive`, and for everybody once it is open.

        Args:
            match: Recognizes the message, as the codec reads it: a function, or a key and a value such as
                `("type", "auth_ok")`, as in `request`. `LookupError`, `TypeError` and `AttributeError` from it mean
                that a message does not match. `None`: the next message matches.
            codec: Reads the messages. Left out: the connection's own, or else `str`. `None`: as they came.

        Returns:
            The message, as the codec reads it.

        Raises:
            DecodeError: If a message does not fit the codec. It is taken all the same.
            ConnectError: If the connection ends before one matches; with `code` and `reason` if the peer has closed.
                Messages that came before are given first.
            RxNodesError: If the login is over.
            TypeError: If `match` is neither a plain function nor a key and a value that can be hashed, or `codec` is no
                codec.
            ValueError: If no codec has that name.
        """
        return await self._login.receive(match, codec)


AfterConnect = Callable[[Greeting], Awaitable[object]]
"""A hook that logs in. Its result is not used. An exception fails the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How each attempt logs in.

    Attributes:
        hook: Logs in.
        codec: The connection's codec.
    """

    hook: AfterConnect
    codec: Codec[Any] | None = None
