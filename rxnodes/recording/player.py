"""Plays the peers of a recording again, on the scripted transport."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rxnodes.errors import ConnectError, ConnectionLost, ProtocolError
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.recording.entries import Message, Messages, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rxnodes.errors import RxNodesError
    from rxnodes.recording.entries import Entry
    from rxnodes.transport.scripted import ScriptedPeer

__all__ = ["player"]

logger = logging.getLogger("rxnodes")

Act: TypeAlias = Callable[["ScriptedPeer"], object]

#: Seconds by which a timer may come early.
ROUNDING: Final = 1e-9

#: Sent in place of payloads that were not recorded, cut to their sizes.
FILLER: Final = b"filler "


@dataclass
class _Script:
    """What the peer of one attempt does. Times are seconds of the recording.

    Attributes:
        began: When the attempt began.
        acts: What the peer does, each with its seconds after the dial.
        closing: What it does after our Close frame, each with its seconds after that.
        closed_at: When we began to close.
        peer_closed_at: When the peer began to close.
        is_over: Whether the peer does nothing more.
        refusal: The arguments of `refuse`, if the client knew more than a refused dial can tell it.
    """

    began: float
    acts: list[tuple[float, Act]] = field(default_factory=list[tuple[float, Act]])
    closing: list[tuple[float, Act]] = field(default_factory=list[tuple[float, Act]])
    closed_at: float | None = None
    peer_closed_at: float | None = None
    is_over: bool = False
    refusal: dict[str, Any] = field(default_factory=dict[str, Any])

    def then(self, time: float, act: Act) -> None:
        """Adds what the peer does at a time."""
        if self.closed_at is None:
            self.acts.append((time - self.began, act))
        else:
            self.closing.append((time - self.closed_at, act))

    def play(self, peer: ScriptedPeer) -> None:
        """Does everything, each at its time."""
        if self.closed_at is not None:
            peer.expect_close(lambda: _play(peer, self.closing))
        _play(peer, sorted(self.acts, key=lambda act: act[0]))


def _play(peer: ScriptedPeer, acts: Iterable[tuple[float, Act]]) -> None:
    # One timer after the other: a loop may call two that are due together in either order.
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    left = deque(acts)

    def go_on() -> None:
        while left and left[0][0] <= loop.time() - began_at + ROUNDING:
            left.popleft()[1](peer)
        if left and not peer.is_lost:
            loop.call_at(began_at + left[0][0], go_on)

    go_on()


def player(entries: Iterable[Recorded[Entry]]) -> Act:
    """A script for a `ScriptedTransport`: each dial gets the next attempt that was recorded of its URL."""
    # The last attempt of each connection, and all attempts to each URL, in their order.
    last: dict[str, _Script] = {}
    attempts: defaultdict[str, deque[_Script]] = defaultdict(deque)
    is_filled = False
    for it in entries:
        value = it.value
        if isinstance(value, Connecting):
            last[value.connection] = _Script(it.time)
            attempts[value.url].append(last[value.connection])
        elif isinstance(value, LifecycleEvent | Message | Messages) and value.connection in last:
            _add(last[value.connection], it.time, value)
            is_filled = is_filled or (isinstance(value, Message | Messages) and _payload_of(value) is None)
    if is_filled:
        logger.warning("the recording has no payloads: its peers send filler of the same size")

    def script(peer: ScriptedPeer) -> None:
        url = peer.target.redacted_url
        following = next(iter(attempts.values())) if len(attempts) == 1 else attempts.get(url)
        if following:
            following.popleft().play(peer)
        else:
            peer.refuse(f"the recording has no further dial to {url}", retryable=False)

    return script


def _payload_of(entry: Message | Messages) -> str | bytes | None:
    return entry.payload if isinstance(entry, Message) else None


def _add(script: _Script, time: float, entry: LifecycleEvent | Message | Messages) -> None:
    """Adds what the peer did, as one entry shows it."""
    if script.is_over:
        if isinstance(entry, Stopped):
            # It was not retried: the code of a Close frame during a login may have said that this cannot help.
            script.refusal["retryable"] = False
        return
    match entry:
        case Opened():
            subprotocol = entry.subprotocol
            script.then(time, lambda peer: peer.accept(subprotocol))
        case Message() | Messages() if entry.direction == "in":
            for after, payload in _payloads(entry):
                script.then(time + after, methodcaller("send", payload))
        case Closing(initiator=Initiator.LOCAL):
            script.closed_at = time
        case Closing():
            script.peer_closed_at = time
        case ErrorEvent():
            _fail(script, time, entry.error)
        case Dropped() | Stopped():
            _close(script, time, entry)
        case _:
            pass


def _fail(script: _Script, time: float, error: RxNodesError) -> None:
    """The link broke, or could not be made. Other errors end no link, or are our own."""
    says = str(error)
    if isinstance(error, ConnectError):
        facts: dict[str, Any] = {
            name: getattr(error, name) for name in ("status", "retry_after", "retryable", "untrusted_certificate")
        }
        if error.code is not None or error.proxy_status is not None:
            script.refusal = facts
        script.then(time, lambda peer: peer.refuse(says, **facts))
    elif isinstance(error, ConnectionLost):
        script.then(time, lambda peer: peer.fail(says))
    elif isinstance(error, ProtocolError):
        # Before our Close frame, which answers it, even if it stands behind that in the recording.
        code = error.code
        script.acts.append((time - script.began, lambda peer: peer.violate(code, says)))
    else:
        return
    script.is_over = True


def _close(script: _Script, time: float, end: Dropped | Stopped) -> None:
    """The peer's Close frame. It came when the session began to close, or else about when the attempt ended."""
    code, reason = end.code, end.reason
    if code != CloseCode.ABNORMAL_CLOSURE:
        script.then(
            time if script.peer_closed_at is None else script.peer_closed_at, lambda peer: peer.close(code, reason)
        )
    script.is_over = True


def _payloads(entry: Message | Messages) -> Iterator[tuple[float, str | bytes]]:
    payload = _payload_of(entry)
    if payload is not None:
        yield 0.0, payload
        return
    count, span = (entry.count, entry.span) if isinstance(entry, Messages) else (1, 0.0)
    size, rest = divmod(entry.size, count)
    for number in range(count):
        filler = (FILLER * (size // len(FILLER) + 1))[: size + (number < rest)]
        yield span * number / max(count - 1, 1), filler.decode() if entry.kind == "text" else filler
