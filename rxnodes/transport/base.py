"""The protocol that every transport keeps.

A transport dials, and returns a `Link` at once: one attempt, from the dial to the end of its TCP connection. The link
tells its `Sink` what happens, and the sink's owner tells the link what to do. The rules are few:

- Everything happens on the event loop's thread.
- `Sink.lost` is called exactly once, last, and only when nothing of the link is left: no socket, timer or task.
- Every end of a link leads to `Sink.lost`; after `Link.abort` that is soon, and nothing else comes before it.
- Nothing is raised into the caller of `dial` or of a link's method. A transport that does so has failed: the log has
  the traceback, the link is aborted, and the attempt ends. If `dial` raises a `ConnectError`, the attempt ends with it.
- The sink is told once, before `lost`, what became of each message that was given to the link.
- What the peer sent and our system has is delivered before `lost`, also where a write has failed; only `abort` and
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
    """What the answers to a connection's handshakes have set: kept by its transport from one attempt to the next.

    Attributes:
        jar: Whatever the transport keeps them in; `None`: there was no attempt yet.
    """

    __slots__ = ("jar",)

    def __init__(self) -> None:
        self.jar: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to dial, and how. Its `repr` holds no secret.

    Attributes:
        url: The whole URL, with its query, which may be secret: never printed.
        redacted_url: The same, fit for messages, events and logs.
        headers: Extra request headers; their values may be secret.
        subprotocols: Offered to the server, the preferred first (RFC 6455 section 1.9). Some services take a
            token there.
        heartbeat: Seconds between pings. A peer is given up if nothing has come half as many seconds after a ping.
            `None`: no heartbeat.
        silence_timeout: Seconds without a message after which a peer is given up, even if it answers pings; `None`: it
            may be silent.
        max_message_size: Bytes that one message may have, unpacked; `None`: no limit.
        max_header_size: Bytes that the head of the server's answer to the handshake may have.
        send_queue: The bounds of the messages that wait to be sent.
        compression: Whether permessage-deflate (RFC 7692) is offered.
        tls: For wss: gives the context for an attempt, and raises a `ConnectError` where its files cannot be used;
            `None`: the system's trust store.
        server_hostname: For wss: the name that the certificate must have; `None`: the URL's host.
        proxy: Through which proxy the server is reached; `None`: none.
        unix_socket: The socket's path, in place of TCP to the URL's host; `None`: TCP.
        local_address: The IP address and the port from which TCP is made; port 0: any. `None`: the system chooses.
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
        """What was offered under that name, which may be a `SecretText`; what was not offered stays as it is."""
        return next((it for it in self.subprotocols if it == subprotocol), subprotocol)


class Sink(Protocol):
    """Told by a link what happens."""

    def opened(self, subprotocol: str | None, headers: CIMultiDict[str]) -> None:
        """The handshake is done; `headers` are those of the server's answer. Messages may follow at once.

        Args:
            subprotocol: What the server chose, as `Target.offered` has it.
            headers: Those of its answer.
        """
        ...

    def messages(self, messages: list[str] | list[bytes], /) -> None:
        """Whole messages have come, in order and all of one kind: `str` for text messages, `bytes` for binary ones."""
        ...

    def sent(self, receipts: Collection[Receipt], /) -> None:
        """These messages have left for the network."""
        ...

    def unsent(self, receipts: Collection[Receipt], /) -> None:
        """These messages never will. It is called within `Link.close_now`, or right before `lost`."""
        ...

    def overflowed(self, receipts: Collection[Receipt], /) -> None:
        """These messages had no room in the send queue."""
        ...

    def close_received(self, code: int, reason: str, *, tcp_ended: bool = False) -> None:
        """The peer's Close frame has come (1005: an empty one). No message follows.

        `tcp_ended`: the peer has ended its side of TCP, too, so there is nothing to wait for.
        """
        ...

    def close_sent(self) -> None:
        """Our Close frame has left for the network."""
        ...

    def ponged(self, round_trip: float) -> None:
        """The peer has answered a ping, after so many seconds."""
        ...

    def violated(self, error: ProtocolError) -> None:
        """The peer broke the protocol. No message follows; `error.code` is what to answer."""
        ...

    def lost(self, error: RxNodesError | None, traffic: Traffic) -> None:
        """Nothing of the link is left. `error` says why it did not open, or what broke it; `None`: nothing did."""
        ...


class Link(Protocol):
    """One attempt, from the dial to the end of its TCP connection."""

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far. It may be read at any moment, and from any thread."""
        ...

    def send(self, receipt: Receipt, /) -> None:
        """Sends a receipt's message; only while open. Order is kept, and the sink is told what becomes of it."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame behind all that was sent, and goes on reading. 1005 sends an empty one."""
        ...

    def close_now(self, code: int, reason: str) -> None:
        """Sends a Close frame at once, unless one has left already. The messages that still wait are `unsent`.

        No message is delivered behind this, not even the rest of the read that is being delivered.
        """
        ...

    def pause_reading(self) -> None:
        """Reads no more, so that the peer's messages wait in the network, and at last with the peer.

        The messages of the current read are all delivered. Once a Close frame is due, reading goes on all the same, so
        that the end is found. May be called at any moment, however often.
        """
        ...

    def resume_reading(self) -> None:
        """Reads on. May be called at any moment, however often."""
        ...

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read: at once, where nothing waits.

        It is for a deadline that has struck. The program may have been held up, by a subscriber or a stopped process,
        and must not judge the peer before it has read what the peer sent. While the connection closes, messages beyond
        those that a pausing consumer is given are read, and counted as undelivered.
        """
        ...

    def abort(self) -> None:
        """Ends the link without ceremony: cancels the dial, or drops the TCP connection."""
        ...


class Transport(Protocol):
    """Carries bytes: dials links, and owns what they share."""

    def dial(self, target: Target, sink: Sink) -> Link:
        """Begins an attempt. The sink is not called before this returns."""
        ...

    async def aclose(self) -> None:
        """Releases what the transport's links share. All of them are lost by then."""
        ...
