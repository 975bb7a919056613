"""The protocol that every transport keeps.

A transport dials, and returns a `Link` at once: one attempt, from the dial to the end of its TCP connection. The link
tells its `Sink` what happens, and the sink's owner tells the link what to do. The rules:

- Everything happens on the event loop's thread.
- `Sink.lost` is called exactly once, last, and only when nothing of the link is left: no socket, timer or task.
- Every end of a link leads to `Sink.lost`; after `Link.abort` that is soon, and nothing else comes before it.
- `dial` and the methods of a link raise nothing. A transport that raises has failed: the log has the traceback, the
  link is aborted, and the attempt ends. If `dial` raises a `ConnectError`, the attempt ends with it.
- The sink is told the outcome of each message that the link was given, once, before `lost`.
- What the peer sent and our system has is delivered before `lost`, also if a write has failed. Only `abort` and
  `close_now` cut it short.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rxnodes.transport.receipts import SendQueue

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Mapping

    from multidict import CIMultiDict

    from rxnodes.errors import ProtocolError, RxNodesError
    from rxnodes.lifecycle.events import Traffic
    from rxnodes.transport.receipts import Receipt
    from rxnodes.wire.tunnel import Proxy

__all__ = ["Cookies", "Link", "Sink", "Target", "Transport"]


class Cookies:
    """The cookies of a connection, which its transport keeps from one attempt to the next.

    Attributes:
        jar: The transport's own container for them; `None`: there was no attempt yet.
    """

    __slots__ = ("jar",)

    def __init__(self) -> None:
        self.jar: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to dial, and how. Its `repr` holds no secret.

    Attributes:
        url: The whole URL, with its query, which may be secret: never printed.
        redacted_url: The same without secrets, for messages, events and logs.
        headers: Extra request headers; their values may be secret.
        subprotocols: Offered to the server, the preferred first (RFC 6455 section 1.9). Some services take a
            token there.
        heartbeat: Seconds between pings. The peer is given up if nothing has come half as many seconds after a ping.
            `None`: no heartbeat.
        silence_timeout: Seconds without a message after which the peer is given up, even if it answers pings; `None`:
            it may be silent.
        max_message_size: Bytes that one message may have once it is decompressed; `None`: no limit.
        max_header_size: Bytes that the head of the server's answer to the handshake may have.
        send_queue: The bounds of the messages that wait to be sent.
        compression: Whether permessage-deflate (RFC 7692) is offered.
        tls: For wss: gives the context for an attempt, and raises a `ConnectError` where its files cannot be used;
            `None`: the system's trust store.
        server_hostname: For wss: the name that the certificate must have; `None`: the URL's host.
        proxy: The proxy that leads to the server; `None`: none.
        unix_socket: The path of a unix socket, which takes the place of TCP to the URL's host; `None`: TCP.
        local_address: The IP address and the port that TCP comes from; port 0: any. `None`: the system chooses.
        cookies: Where cookies are kept from one attempt to the next; `None`: they are not.
    """

    url: str = field(repr=False)
    redacted_url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    subprotocols: tuple[str, ...] = field(default=(), repr=False)
    heartbeat: float | None = None
    silence_timeout: float | None = None
    max_message_size: int | None = 1024 * 1024
    max_header_size: int = 64 * 1024
    send_queue: SendQueue = field(default_factory=SendQueue)
    compression: bool = False
    tls: Callable[[], ssl.SSLContext] | None = None
    server_hostname: str | None = None
    proxy: Proxy | None = None
    unix_socket: str | None = None
    local_address: tuple[str, int] | None = None
    cookies: Cookies | None = field(default=None, repr=False)

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("wss:")

    def offered(self, subprotocol: str | None) -> str | None:
        """The subprotocol as it was offered, which may be a `SecretText`; one that was not offered stays as it is."""
        return next((it for it in self.subprotocols if it == subprotocol), subprotocol)


class Sink(Protocol):
    """Receives what happens on a link."""

    def opened(self, subprotocol: str | None, headers: CIMultiDict[str]) -> None:
        """The handshake is done. Messages may follow at once.

        Args:
            subprotocol: The one that the server chose, as `Target.offered` has it.
            headers: Those of the server's answer.
        """
        ...

    def messages(self, messages: list[str] | list[bytes], /) -> None:
        """Whole messages have come, in order and all of one kind: `str` for text messages, `bytes` for binary ones."""
        ...

    def sent(self, receipts: Collection[Receipt], /) -> None:
        """These messages have left for the network."""
        ...

    def unsent(self, receipts: Collection[Receipt], /) -> None:
        """These messages will never leave. It is called within `Link.close_now`, or right before `lost`."""
        ...

    def overflowed(self, receipts: Collection[Receipt], /) -> None:
        """These messages had no room in the send queue."""
        ...

    def close_received(self, code: int, reason: str, *, tcp_ended: bool = False) -> None:
        """The peer's Close frame has come (1005: an empty one). No message follows.

        Args:
            code: The close code.
            reason: The reason.
            tcp_ended: Whether the peer has ended its side of TCP, too, so that there is nothing to wait for.
        """
        ...

    def close_sent(self) -> None:
        """Our Close frame has left for the network."""
        ...

    def ponged(self, round_trip: float) -> None:
        """The peer has answered a ping, after so many seconds."""
        ...

    def violated(self, error: ProtocolError) -> None:
        """The peer broke the protocol. No message follows; `error.code` is the code to close with."""
        ...

    def lost(self, error: RxNodesError | None, traffic: Traffic) -> None:
        """Nothing of the link is left. `error` says why it did not open, or what broke it; `None`: neither."""
        ...


class Link(Protocol):
    """One attempt, from the dial to the end of its TCP connection."""

    @property
    def traffic(self) -> Traffic:
        """The traffic so far. It may be read at any moment, and from any thread."""
        ...

    def send(self, receipt: Receipt, /) -> None:
        """Sends a receipt's message; only while open. Order is kept, and the sink is told the outcome."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame behind all that was sent, and goes on reading. 1005 sends an empty one."""
        ...

    def close_now(self, code: int, reason: str) -> None:
        """Sends a Close frame at once, unless one has left already. The messages that still wait are unsent.

        From here on no message is delivered, not even the rest of the current read.
        """
        ...

    def pause_reading(self) -> None:
        """Reads no more, so that the peer's messages wait in the network, and finally with the peer.

        All messages of the current read are delivered. Once a Close frame is due, reading goes on all the same, so that
        the end is found. It may be called at any moment, and repeatedly.
        """
        ...

    def resume_reading(self) -> None:
        """Reads on. It may be called at any moment, and repeatedly."""
        ...

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read; at once, if nothing waits.

        A deadline that has passed uses it. A slow subscriber, or a stopped process, may have held the program up, and
        it must not judge the peer before it has read what the peer sent. While the connection closes, messages beyond
        those that a pausing consumer gets are read, and counted as undelivered.
        """
        ...

    def abort(self) -> None:
        """Ends the link without a closing handshake: cancels the dial, or drops the TCP connection."""
        ...


class Transport(Protocol):
    """Carries bytes: dials links, and owns what they share."""

    def dial(self, target: Target, sink: Sink) -> Link:
        """Begins an attempt. The sink is not called before this returns."""
        ...

    async def aclose(self) -> None:
        """Releases what the transport's links share. All of them are lost by then."""
        ...
