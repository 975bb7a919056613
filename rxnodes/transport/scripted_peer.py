"""The peer of a link without sockets: a server and a network, played by a test.

It is longer than other files because each of its verbs has its documentation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from rxnodes.errors import ConnectError, ConnectionLost, ProtocolError, RxNodesError
from rxnodes.lifecycle.events import Traffic
from rxnodes.lifecycle.states import CloseCode, check_close
from rxnodes.rx.schedulers import utc_now
from rxnodes.transport.receipts import Backlog
from rxnodes.wire.answer import asked_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxnodes.transport.base import Sink, Target
    from rxnodes.transport.receipts import Receipt

__all__ = ["ScriptedPeer", "check_payload", "check_peers_close"]


class ScriptedPeer:
    """The other side of one attempt: a server, and the network before it. `ScriptedTransport` makes it.

    Its methods are called on the event loop, and return at once. Once the link is over, they do nothing. They do not
    check whether a real peer could do that; `peer_script` does.

    Attributes:
        target: The target that was dialled.
        received: The messages that have come from the client.
        close_frame: Code and reason of the client's Close frame, once it has come.
        answers_close: Whether a Close frame is answered with the same code.
        ends_tcp: Whether TCP is ended once both Close frames were exchanged.
        is_held: Whether what the peer does waits, because the client does not read.
        was_aborted: Whether the client gave the link up.
        is_lost: Whether the link is over.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     transport = ScriptedTransport()
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         project.websocket("chat").start()
        ...         transport.peer.accept()
        ...         project.websocket("chat").send("hello")
        ...         transport.peer.reset()
        ...         stopped = await project.websocket("chat").wait_stopped()
        ...     print(transport.peer.received, stopped.error)
        >>> asyncio.run(main())
        ['hello'] the connection broke: Connection reset by peer
    """

    def __init__(self, target: Target, sink: Sink) -> None:
        self.target = target
        self.received: list[str | bytes] = []
        self.close_frame: tuple[int, str] | None = None
        self.answers_close = True
        self.ends_tcp = True
        self._answer: Callable[[int], object] | None = None
        self.is_held = False
        self.was_aborted = False
        self.is_lost = False
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        # Messages that the client has sent and the peer has not taken. Those behind its Close frame never leave.
        self._is_reading = True
        self._waiting = Backlog(target.send_queue)
        self._too_late: list[Receipt] = []
        self._unsent = 0
        # How many messages of the client were expected so far, and the callbacks for the next ones.
        self._expected = 0
        self._expectations: deque[Callable[[str | bytes], object]] = deque()
        # The client's Close frame, while the peer has not taken it.
        self._waiting_close: tuple[int, str] | None = None
        self._is_closing = False
        self._has_written_close = False
        # What the peer has done, and the client has not read.
        self._arriving: deque[Callable[[], None]] = deque()
        self._has_closed = False
        self._is_mute = False
        self._has_ended = False
        self._is_broken = False
        self._has_noticed = False
        self._messages_received = 0
        self._bytes_received = 0

    # What the peer does

    def accept(self, subprotocol: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        """Accepts the handshake; a second time it does nothing.

        Args:
            subprotocol: The one that the server chooses, offered or not; `None`: none.
            headers: The headers of the server's answer, which `Opened` shows. A `CIMultiDict` may have a name twice.
        """
        if not self._is_over() and not self._is_open:
            self._is_open = True
            self._sink.opened(self.target.offered(subprotocol), CIMultiDict(headers or {}))

    def refuse(  # noqa: PLR0913 - as ConnectError has them
        self,
        message: str = "refused",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        retry_after: float | None = None,
        retryable: bool = True,
        untrusted_certificate: bool = False,
    ) -> None:
        """Fails the dial: the attempt ends with a `ConnectError`.

        Args:
            message: The error's text.
            status: The HTTP status with which the server answered; `None`: there was no answer.
            headers: The headers of that answer.
            body: The body of that answer.
            retry_after: How many seconds the server asks to wait; `None`: what `Retry-After` in `headers` says.
            retryable: Whether the settings decide if another attempt follows; if not, none does.
            untrusted_certificate: Whether the server's certificate is not trusted.
        """
        answered = CIMultiDict(headers or {})
        if retry_after is None:
            retry_after = asked_delay(answered, utc_now(self._loop))
        self._lose(
            ConnectError(
                message,
                status=status,
                headers=answered,
                body=body,
                retry_after=retry_after,
                retryable=retryable,
                untrusted_certificate=untrusted_certificate,
            )
        )

    def send(self, message: str | bytes) -> None:
        """Sends a message. After a Close frame or a violation it is not seen.

        Args:
            message: A `str` for a text message, `bytes` for a binary one, of any size: `max_message_size` is kept by
                the transport over real sockets.

        Raises:
            TypeError: If it is neither `str` nor `bytes`.
        """
        check_payload("a message", message)
        self._say(lambda: self._send(message))

    def _send(self, message: str | bytes) -> None:
        self._messages_received += 1
        self._bytes_received += len(message.encode() if isinstance(message, str) else message)
        if isinstance(message, str):
            self._sink.messages([message])
        else:
            self._sink.messages([message])

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends a Close frame, or answers the client's. After another one, or a violation, it is not seen.

        Args:
            code: The close code; 1005: the frame is empty (RFC 6455 section 7.1.5).
            reason: The reason.

        Raises:
            TypeError: If the code is no number.
            ValueError: If a Close frame cannot carry the code or the reason.
        """
        check_peers_close(code, reason)
        self._say(lambda: self._close(code, reason))

    def _close(self, code: int, reason: str) -> None:
        self._has_closed = True
        # If the end of TCP is there already, nobody has to wait for it.
        tcp_ended = self.close_frame is not None and self._end in list(self._arriving)[:1]
        self._sink.close_received(code, reason, tcp_ended=tcp_ended)
        self._end_when_done()

    def pong(self, round_trip: float) -> None:
        """Answers a ping of the client's heartbeat: `latency` emits how long it took. No ping has to come before.

        Args:
            round_trip: What is emitted, in seconds. No time passes.
        """
        self._say(lambda: self._sink.ponged(round_trip))

    def violate(self, code: int = 1002, message: str = "a frame that must not be") -> None:
        """Breaks the protocol. What the peer sends afterwards is not seen.

        Args:
            code: The close code with which the client says so: 1002, 1003, 1007 or 1009 (RFC 6455 section 7.4.1).
            message: The text of the `ProtocolError`.
        """
        self._say(lambda: self._violate(code, message))

    def _violate(self, code: int, message: str) -> None:
        self._is_mute = True
        self._sink.violated(ProtocolError(message, code=code))

    def expect(self, act: Callable[[str | bytes], object]) -> None:
        """Calls a function with the client's next message that no earlier call has expected.

        So a script plays a login: it waits for the token, and then answers.

        Args:
            act: Called with the message: at once if it has come already, and otherwise in the loop's turn after it
                comes. If the link ends before, it is not called.

        Example:
            >>> from rxnodes import Greeting, Project
            >>> async def log_in(greeting: Greeting) -> None:
            ...     await greeting.send("token")
            ...     print(await greeting.receive())
            >>> def script(peer: ScriptedPeer) -> None:
            ...     peer.accept()
            ...     peer.expect(lambda message: peer.send(f"welcome, {message}"))
            >>> async def main() -> None:
            ...     settings = {"url": "ws://chat.test/", "after_connect": log_in}
            ...     async with Project(websocket={"chat": settings}, transport=ScriptedTransport(script)) as project:
            ...         project.websocket("chat").start()
            ...         await project.websocket("chat").wait_started()
            >>> asyncio.run(main())
            welcome, token
        """
        self._expectations.append(act)
        self._meet_expectations()

    def expect_close(self, act: Callable[[], object]) -> None:
        """Calls a function when the client's Close frame has come, in place of answering it at once.

        Args:
            act: Called in the loop's turn after it comes. If the link ends before, it is not called.

        Example:
            >>> from rxnodes import Project
            >>> def script(peer: ScriptedPeer) -> None:
            ...     peer.accept()
            ...     peer.expect_close(lambda: (peer.send("one more thing"), peer.close(1000, "goodbye")))
            >>> async def main() -> None:
            ...     async with Project(websocket={"chat": "ws://a/"}, transport=ScriptedTransport(script)) as project:
            ...         project.websocket("chat").start()
            ...         await project.websocket("chat").wait_started()
            ...     stopped = project.websocket("chat").last_stopped
            ...     print(stopped.reason, stopped.messages_received)
            >>> asyncio.run(main())
            goodbye 1
        """
        self._answer = lambda _: act()

    def _meet_expectations(self) -> None:
        while self._expectations and self._expected < len(self.received):
            act = self._expectations.popleft()
            self._expected += 1
            act(self.received[self._expected - 1])

    def stop_reading(self) -> None:
        """Lets nothing leave the client from here on. What waits when the peer closes, or the link ends, is unsent."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Takes what waits, and goes on reading."""
        self._is_reading = True
        while self._waiting.receipts and self._can_take():
            self._receive(self._waiting.take_first())
        if self._waiting_close is not None and self._can_take():
            frame, self._waiting_close = self._waiting_close, None
            self._take_close(frame)

    def end(self) -> None:
        """Ends TCP (FIN)."""
        self._arrive(self._end)

    def _end(self) -> None:
        self._has_ended = True
        if self._waiting_close is not None and self._has_written_close:
            # The link is kept for our Close frame, which is still to leave.
            return
        self._lose(None if self.close_frame else ConnectionLost("the peer ended the connection without a Close frame"))

    def reset(self) -> None:
        """Breaks TCP (RST). A client that does not read learns of it when it sends."""
        self._is_broken = True
        self._arrive(lambda: self._lose(ConnectionLost("the connection broke: Connection reset by peer")))

    def fail(self, message: str) -> None:
        """Ends the link because its script has failed.

        Args:
            message: The text of the client's error.
        """
        if self._is_open:
            self._lose(ConnectionLost(message))
        else:
            self.refuse(message, retryable=False)

    # What the client does

    @property
    def traffic(self) -> Traffic:
        """What the client has received and sent so far."""
        return Traffic(
            messages_received=self._messages_received,
            bytes_received=self._bytes_received,
            messages_sent=len(self.received),
            bytes_sent=sum(len(m.encode() if isinstance(m, str) else m) for m in self.received),
            unsent=self._unsent,
        )

    def take(self, receipt: Receipt) -> None:
        """A message of the client."""
        if self._is_closing or self._is_over():
            self._too_late.append(receipt)
        elif self._can_take():
            self._receive(receipt)
        else:
            self._hold_back(receipt)
            self._notice_break()

    def _can_take(self) -> bool:
        return self._is_reading and not self._is_broken and not self._is_over()

    def _receive(self, receipt: Receipt) -> None:
        self.received.append(receipt.payload.decode() if receipt.is_text else receipt.payload)
        self._sink.sent((receipt,))
        if self._expectations:
            # Not within the client's own call.
            self._loop.call_soon(self._meet_expectations)

    def _hold_back(self, receipt: Receipt) -> None:
        overflowed = self._waiting.add(receipt)
        if overflowed:
            self._unsent += len(overflowed)
            self._sink.overflowed(overflowed)

    def _notice_break(self) -> None:
        """Notices that nothing can be sent any more. What has come is still read, even if the client has paused."""
        if self._is_broken and not self._has_noticed:
            self._has_noticed = True
            self._loop.call_soon(self._let_arrive)

    def take_close(self, code: int, reason: str) -> None:
        """A Close frame of the client, behind all that it has sent."""
        if not self._is_closing and not self._is_over():
            self._read_to_end()
            self._give_close(code, reason)

    def take_close_now(self, code: int, reason: str) -> None:
        """A Close frame of the client, ahead of all that waits. The client hears nothing more."""
        self._is_mute = True
        self._end_when_done()
        if self._has_written_close or self.close_frame is not None or self._is_over():
            return
        self._has_written_close = True
        self._read_to_end()
        self._give_up_waiting()
        self._give_close(code, reason)

    def _give_close(self, code: int, reason: str) -> None:
        if self._can_take():
            self._take_close((code, reason))
        else:
            self._waiting_close = (code, reason)

    def _take_close(self, frame: tuple[int, str]) -> None:
        self.close_frame = frame
        self._sink.close_sent()
        if not self._has_closed and self.answers_close and not self._is_mute:
            self._loop.call_soon(self._answer or self.close, frame[0])
        self._end_when_done()

    def _end_when_done(self) -> None:
        is_done = self._has_ended or (self.ends_tcp and (self._has_closed or self._is_mute))
        if is_done and self.close_frame is not None:
            self._loop.call_soon(self.end)

    def _read_to_end(self) -> None:
        """Reads on, because the connection is ending, and a client that does not read must not hold that up."""
        self._is_closing = True
        self._loop.call_soon(self._let_arrive)

    def _give_up_waiting(self) -> None:
        """Makes unsent what waits."""
        receipts = (*self._waiting.receipts, *self._too_late)
        self._waiting = Backlog(self.target.send_queue)
        self._too_late.clear()
        self._unsent += len(receipts)
        if receipts:
            self._sink.unsent(receipts)

    def hold(self) -> None:
        """The client reads no more."""
        self.is_held = True

    def let_go(self) -> None:
        """The client reads on."""
        self.is_held = False
        # In a turn of its own, as where the network is asked.
        self._loop.call_soon(self._let_arrive)

    def abort(self) -> None:
        """The client gives up."""
        if not self._is_over():
            self.was_aborted = True
            self._loop.call_soon(self._tell_lost, None)

    def _say(self, event: Callable[[], None]) -> None:
        """A frame of the peer arrives. Behind its Close frame, or a violation, nobody listens."""
        self._arrive(lambda: None if self._is_over() or self._has_closed or self._is_mute else event())

    def _arrive(self, event: Callable[[], None]) -> None:
        """Lets the client see what the peer does: at once, or when it reads."""
        if self._arriving or not self._is_read():
            self._arriving.append(event)
        else:
            event()

    def _let_arrive(self) -> None:
        while self._arriving and self._is_read():
            self._arriving.popleft()()

    def _is_read(self) -> bool:
        return not self.is_held or self._is_closing or self._has_noticed or not self._is_open

    def _is_over(self) -> bool:
        return self.is_lost or self.was_aborted

    def _lose(self, error: RxNodesError | None) -> None:
        if not self._is_over():
            self._tell_lost(error)

    def _tell_lost(self, error: RxNodesError | None) -> None:
        self.is_lost = True
        self._give_up_waiting()
        self._sink.lost(error, self.traffic)


def check_payload(name: str, payload: object) -> None:
    """Refuses what is no message.

    Raises:
        TypeError: If it is neither `str` nor `bytes`.
    """
    if not isinstance(payload, str | bytes):
        raise TypeError(f"{name} must be str or bytes, not {type(payload).__name__}")


def check_peers_close(code: int, reason: str) -> None:
    """Refuses what the Close frame of a peer that keeps the protocol cannot carry.

    Raises:
        TypeError: If the code is no number.
        ValueError: If the code must not be sent (RFC 6455 section 7.4), or the reason does not fit.
    """
    if code == CloseCode.NO_STATUS_RECEIVED:
        if reason:
            raise ValueError("an empty Close frame (1005) has no reason")
        return
    try:
        check_close(code, reason)
    except ValueError as error:
        problem = str(error)
    else:
        return
    raise ValueError(f"{problem}; a peer that breaks the protocol is played with violate(), or a 'v'")
