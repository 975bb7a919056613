"""The sockets of links, which tell when their descriptor is gone, and what the system knows of a connection.

A program that does not read sees neither a pong nor an end. The system still speaks with the peer's system, and can be
asked.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol

from rxnodes.rx.forking import keep_from_children

try:
    import fcntl
    import termios
except ImportError:
    # On Windows, the system does not say how much it holds.
    has_ioctl = False
else:
    has_ioctl = True

if TYPE_CHECKING:
    import asyncio

    from rxnodes.transport.base import Target
    from rxnodes.wire.answer import HeadReader

__all__ = [
    "Dial",
    "PeerSystem",
    "WatchedSocket",
    "ask_system",
    "count_unacknowledged",
    "count_unread",
    "create_socket",
    "current_dial",
    "has_ended",
    "has_unread",
]

#: Looks at what has come, without taking it or waiting. An int, because combining members of an enum takes longer.
LOOK: Final = int(socket.MSG_PEEK) | int(getattr(socket, "MSG_DONTWAIT", 0))

#: Of Linux's `struct tcp_info`: the state; how often unanswered data was sent again, and how often a closed window was
#: probed; the segments that are not acknowledged; the milliseconds since data was sent, and since anything came.
TCP_INFO: Final = Struct("=BxBB20xI16xI8xI")
ESTABLISHED: Final = 1

#: More than a system keeps for a connection unless its owner has changed that.
MOST_TO_COUNT: Final = 8 * 1024 * 1024

#: Data that was sent for the first time may be under way, and one answer may get lost.
MAX_RETRANSMITS: Final = 1
MAX_PROBES: Final = 2


class SocketOwner(Protocol):
    """The link that a socket belongs to."""

    loop: asyncio.AbstractEventLoop

    @property
    def may_drain(self) -> bool:
        """Whether the socket may have to be read to its end when the loop closes it."""
        ...

    def watch(self, sock: WatchedSocket, /) -> None:
        """A socket was created for this link."""
        ...

    def on_socket_closed(self, sock: WatchedSocket, /) -> None:
        """The loop has closed this socket."""
        ...


class WatchedSocket(socket.socket):
    """A socket that tells when its descriptor is gone: the one proof that a connection has ended.

    It ends TCP itself too, because a forked process may hold a copy of the descriptor.

    Attributes:
        link: The link that is told.
        spare: A second descriptor, to read the rest and to end TCP if the loop closes the first one by itself; `None`:
            there is none.
    """

    __slots__ = ("_has_ended_tcp", "link", "spare")

    def __init__(self, family: int = -1, kind: int = -1, protocol: int = -1) -> None:
        super().__init__(family, kind, protocol)
        self.link: SocketOwner | None = None
        self.spare: socket.socket | None = None
        self._has_ended_tcp = False

    def keep_spare(self) -> None:
        """Makes the second descriptor, unless there is one already."""
        if self.spare is None:
            self.spare = socket.fromfd(self.fileno(), self.family, self.type, self.proto)
            keep_from_children(self.spare)

    def end_tcp(self) -> None:
        """Ends TCP, also where a forked process holds a copy of the descriptor."""
        if not self._has_ended_tcp:
            self._has_ended_tcp = True
            # It may not be connected yet, or no longer.
            with contextlib.suppress(OSError):
                (self.spare or self).shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Ends TCP, and closes the second descriptor, if there is one."""
        if self.spare is not None:
            self.end_tcp()
            self.spare.close()
            self.spare = None

    def close(self) -> None:
        """Closes the descriptor, and tells the link."""
        link, self.link = self.link, None
        if self.fileno() != -1:
            if link is not None and link.may_drain:
                self.keep_spare()
            if self.spare is None:
                self.end_tcp()
        super().close()
        if link is None:
            self.release()
        else:
            link.on_socket_closed(self)

    def detach(self) -> int:
        """Gives the descriptor away, as uvloop does when it has closed it, and tells the link."""
        descriptor = super().detach()
        link, self.link = self.link, None
        if link is None or link.loop.is_closed():
            self.release()
        else:
            link.loop.call_soon(link.on_socket_closed, self)
        return descriptor


class Dial:
    """The link for which sockets are created.

    Every task that begins within a dial keeps its context, and so this object, for as long as it lives. So the dial
    empties it at its end.

    Args:
        link: The link.
        target: Where to dial, and how.
        answer: Reads the head of the server's answer.

    Attributes:
        link: The link; `None`: the dial is done.
        target: As given.
        answer: As given, until the dial is done.
    """

    __slots__ = ("answer", "link", "target")

    def __init__(self, link: SocketOwner, target: Target, answer: HeadReader) -> None:
        self.link: SocketOwner | None = link
        self.target = target
        self.answer = answer


#: Set by each dial, for the connector.
current_dial: ContextVar[Dial] = ContextVar("current_dial")


def create_socket(address: Any) -> WatchedSocket:
    """Creates a socket of an address's family for the dial under way."""
    family, kind, protocol, _, _ = address
    sock = WatchedSocket(family, kind, protocol)
    keep_from_children(sock)
    link = current_dial.get().link
    assert link is not None
    link.watch(sock)
    return sock


@dataclass(frozen=True, slots=True)
class PeerSystem:
    """What our system knows of the peer's system.

    Attributes:
        has_ended: Whether it has ended the connection, or its direction of it. Then all that it sent is here.
        owes_answer: Whether our system has sent it data repeatedly, without an answer. Data that waits because the
            peer's program does not read is not sent.
        quiet_for: For how many seconds nothing has come from it.
    """

    has_ended: bool
    owes_answer: bool
    quiet_for: float


def ask_system(sock: socket.socket) -> PeerSystem | None:
    """Asks our system about a TCP connection; `None`: it does not say."""
    if sys.platform != "linux" or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    except OSError:
        # Closed.
        return None
    if len(answer) < TCP_INFO.size:
        return None
    state, retransmits, probes, in_flight, since_sent, quiet_for = TCP_INFO.unpack(answer)
    is_unanswered = in_flight > 0 and quiet_for > since_sent
    return PeerSystem(
        has_ended=state != ESTABLISHED,
        owes_answer=(is_unanswered and retransmits > MAX_RETRANSMITS) or probes > MAX_PROBES,
        quiet_for=quiet_for / 1000,
    )


def has_unread(sock: socket.socket) -> bool:
    """Whether data has come that is not read yet."""
    return bool(_peek(sock, 1))


def has_ended(sock: socket.socket) -> bool:
    """Whether the peer has ended TCP, and everything that came before is read."""
    return _peek(sock, 1) == b""


def count_unread(sock: socket.socket) -> int:
    """How many bytes have come and are not read yet; the end of TCP counts as one."""
    unread = _peek(sock, MOST_TO_COUNT)
    return 0 if unread is None else len(unread) or 1


def _peek(sock: socket.socket, size: int) -> bytes | None:
    """At most so many bytes that have come, without taking them; none at the end of TCP. `None`: nothing has come."""
    try:
        return sock.recv(size, LOOK)
    except OSError:
        return None


def count_unacknowledged(sock: socket.socket) -> int:
    """How many bytes that we sent our system still holds; 0 if it does not say."""
    if sys.platform != "linux" or not has_ioctl:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))  # pyright: ignore[reportPossiblyUnboundVariable]
    except (OSError, ValueError):
        # Closed; its descriptor is -1 then, which is a ValueError.
        return 0
    return int.from_bytes(answer, sys.byteorder)
