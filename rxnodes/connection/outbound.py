"""The way of a message from its sender to the link, and its outcome."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes.connection.own_loop import hand_over_lock
from rxnodes.errors import SendError, SendUnknown
from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import OPENING, Phase
from rxnodes.rx.streams import IsolatedSubject
from rxnodes.transport.receipts import Backlog, HandOver, Receipt, SendDropped, SendOutcome, SharedOutcome, Unsent

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from rxnodes.connection.parts import AnyParts
    from rxnodes.transport.base import Link
    from rxnodes.transport.receipts import DropReason, SendQueue

__all__ = ["OPEN", "Outbound", "to_payload"]

# Once for each message sent, looking the member up would cost more than the comparison.
OPEN: Final = Phase.OPEN


class Outbound:
    """Sends messages: at once, or from the backlog when the connection opens; also those of other threads.

    Attributes:
        watched: How many messages have an outcome that somebody waits for.
        backlog: The messages that wait for the connection to open; `None`: none does.
        expiry: The timer that gives up the first of them.
        observers: Called with the messages that have left for the network; `None`: nobody has ever asked.
    """

    __slots__ = (
        *("_driver", "_lock", "_loop", "_outbox", "_outcomes", "_queue", "_report"),
        *("backlog", "expiry", "observers", "watched"),
    )

    def __init__(self, driver: AnyParts, queue: SendQueue) -> None:
        self._driver = driver
        self._queue = queue
        self._loop = driver.loop
        self._outbox = driver.outbox
        self._report = driver.publisher.report
        self._lock = driver.publisher.lifecycle.lock
        # Both are made late: only tags need the first, and only recordings the second.
        self._outcomes: IsolatedSubject[SendOutcome] | None = None
        self.observers: list[Callable[[list[str | bytes]], None]] | None = None
        self.watched = 0
        self.backlog: Backlog | None = None
        self.expiry: asyncio.TimerHandle | None = None

    @property
    def outcomes(self) -> IsolatedSubject[SendOutcome]:
        """The outcome of each message that was sent with a tag."""
        with self._lock:
            if self._outcomes is None:
                self._outcomes = IsolatedSubject(self._report, self._lock)
            return self._outcomes

    def ask_for_observers(self) -> list[Callable[[list[str | bytes]], None]]:
        """The list of observers, for one more to join."""
        with self._lock:
            if self.observers is None:
                self.observers = []
            return self.observers

    # Sending

    def take(self, message: object, is_binary: bool | None, tag: object) -> Receipt:  # noqa: FBT001 - hot path
        """Sends a message, from any thread.

        Raises:
            TypeError: If the message is of the wrong type for `is_binary`.
            ValueError: If a `str` holds an unpaired surrogate.
            RxNodesError: If nobody can send it.
        """
        payload, is_text = to_payload(message, is_binary)
        receipt = Receipt(self, payload, is_text, tag)
        if get_ident() == self._loop.thread:
            self.send(receipt)
        else:
            self._loop.check()
            self.send_from_elsewhere(receipt)
        return receipt

    def send(self, receipt: Receipt, due: float | None = None) -> None:
        """Sends a message, on the loop's thread. `due` is for one that has been waiting already."""
        if receipt.tag is not None:
            self.watched += 1
        driver = self._driver
        phase = driver.state.phase
        link = driver.link
        if phase is OPEN and link is not None:
            # As `give`, but without a call, because this is the hot path.
            try:
                link.send(receipt)
            except BaseException as error:  # noqa: BLE001 - as in `give`
                driver.on_send_failure(receipt, error)
        elif self._queue.while_connecting and phase in OPENING:
            receipt.due = self._queue.due(self._now()) if due is None else due
            self._hold(receipt)
        elif driver.helm is not None and not (driver.helm.is_held or self._loop.is_left):
            driver.helm.send(receipt)
        else:
            # While the last messages of a lost link are being delivered, the connection is open without a link.
            why = "has lost its peer" if phase is OPEN else f"is {phase.state.value}, not open"
            self._drop(receipt, SendError(f"{self._loop.name!r} {why}: message not sent"), "not open")

    def give(self, link: Link, receipt: Receipt) -> None:
        """Gives a link a message. The link tells its outcome, unless the link fails."""
        try:
            link.send(receipt)
        except BaseException as error:  # noqa: BLE001 - no link may raise; the attempt of one that does has to end
            self._driver.on_send_failure(receipt, error)

    def drop_unwritten(self, error: SendError, tag: object) -> None:
        """Reports the error that kept a message from being written, and for a tag a `SendDropped`."""
        if tag is not None:
            self.watched += 1
        self._drop(Receipt(self, b"", False, tag), error, "no message")  # noqa: FBT003

    def _drop(self, receipt: Receipt, error: SendError, reason: DropReason) -> None:
        self._driver.feed(Reported("send", error))
        self.settle((receipt,), SendDropped, reason=reason)

    def _now(self) -> float:
        assert self._loop.loop is not None
        return self._loop.loop.time()

    # From other threads

    def send_from_elsewhere(self, receipt: Receipt) -> None:
        """Hands a message to the loop, which is woken once for all messages that come until it takes them over."""
        loop = self._loop
        if loop.loop is None:
            # The connection was removed before its project opened.
            self.send(receipt)
            return
        with hand_over_lock:
            if loop.messages is None:
                loop.messages = HandOver(self._queue)
            messages = loop.messages
            is_joining = not (messages.is_sealed or loop.loop.is_closed())
            if is_joining or loop.hand_over(partial(self._take_over, messages, messages.batch + 1)):
                if not is_joining:
                    messages.begin()
                messages.add(receipt, loop.loop.time())
                return
        # There is no loop any more that could take it over.
        self.send(receipt)

    def _take_over(self, messages: HandOver, batch: int) -> None:
        """Sends what other threads have handed over."""
        with hand_over_lock:
            receipts, overflowed = messages.take(batch)
        now = self._now()
        expired: list[Receipt] = []
        for receipt in receipts:
            if receipt.due <= now and self._takes_messages():
                expired.append(receipt)
            else:
                self.send(receipt, receipt.due)
        # Outcomes come behind all sends, because a subscriber to them may stop the connection.
        self.watched += sum(receipt.tag is not None for receipt in (*expired, *overflowed))
        self._discard(overflowed)
        self.overflow(overflowed)
        self._give_up(expired)

    def _takes_messages(self) -> bool:
        """Whether a message can be sent now, or may wait for the connection to open."""
        phase = self._driver.state.phase
        return phase is OPEN or (self._queue.while_connecting and phase in OPENING)

    # Waiting for the connection to open

    def _hold(self, receipt: Receipt) -> None:
        """Lets a message wait for the connection to open."""
        if self.backlog is None:
            self.backlog = Backlog(self._queue)
        overflowed = self.backlog.add(receipt)
        if self.expiry is None:
            self._expire_later()
        # Last, because a subscriber to outcomes may stop the connection, which empties the backlog.
        self._discard(overflowed)
        self.overflow(overflowed)

    def _expire_later(self) -> None:
        assert self._loop.loop is not None
        assert self.backlog is not None
        if self.backlog.due is not None:
            self.expiry = self._loop.loop.call_at(self.backlog.due, self._expire)

    def _expire(self) -> None:
        """Gives up the messages that have waited too long."""
        assert self.backlog is not None
        self.expiry = None
        expired = self.backlog.take_expired(self._now())
        self._expire_later()
        self._give_up(expired)

    def _give_up(self, expired: Collection[Receipt]) -> None:
        self._discard(expired)
        self.settle(expired, SendDropped, reason="expired")

    def _discard(self, receipts: Collection[Receipt]) -> None:
        """Counts messages that no link ever had, if a session is live that could still have sent them."""
        phase = self._driver.state.phase
        if receipts and (phase is OPEN or phase in OPENING):
            self._driver.count_discarded(len(receipts))

    def send_backlog(self, _: object = None) -> None:
        """Sends what waited for the connection to open."""
        link = self._driver.link
        if self.backlog is None or link is None or self._driver.state.phase is not OPEN:
            return
        now = self._now()
        expired: list[Receipt] = []
        for receipt in self._take_backlog():
            # A subscriber may have taken so long that the expiry's timer had no turn yet.
            if receipt.due <= now:
                expired.append(receipt)
            else:
                self.give(link, receipt)
        self._give_up(expired)

    def abandon_backlog(self) -> None:
        """Makes unsent what waited for the connection to open: the session ends without that."""
        given_up = self._take_backlog()
        self._discard(given_up)
        self.settle(given_up, Unsent)

    def _take_backlog(self) -> Collection[Receipt]:
        """Takes out the messages that wait for the connection to open."""
        assert self.backlog is not None
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        backlog, self.backlog = self.backlog, None
        return backlog.receipts

    # Outcomes

    def overflow(self, receipts: Collection[Receipt]) -> None:
        """The send queue has no room for these messages."""
        if self._queue.overflow == "error":
            problem = SendError(
                f"{self._loop.name!r}: the send queue is full, message not sent; send_queue sets its bounds"
            )
            for _ in receipts:
                self._driver.feed(Reported("send", problem))
        self.settle(receipts, SendDropped, reason="full")

    def show(self, receipts: Collection[Receipt]) -> None:
        """Shows the observers messages that have left, behind the notification under way."""
        messages = [receipt.payload.decode() if receipt.is_text else receipt.payload for receipt in receipts]
        if messages:
            for observe in self.observers or ():
                self._outbox.post(observe, messages)
            if not self._driver.is_stepping:
                self._outbox.flush()

    def settle(self, receipts: Collection[Receipt], kind: type[SendOutcome], **more: Any) -> None:
        """Notes the outcome of these messages on their receipts. Emits it only where somebody waits for it."""
        if not receipts:
            return
        state = self._driver.state
        session, attempt = (state.session, state.attempt) if state.is_live else (0, 0)
        shared = SharedOutcome(kind, self._loop.name, session, attempt, self._loop.now(), more)
        for receipt in receipts:
            receipt.shared_outcome = shared
            receipt.payload = b""
        if self.watched:
            for receipt in receipts:
                if receipt.is_watched:
                    self._post_outcome(receipt, shared)
            # `Unsent` waits for the notification of the end that caused it. Before that, the connection would still
            # seem open, and a subscriber might send the message again.
            if not self._driver.is_stepping and kind is not Unsent:
                self._outbox.flush()

    def settle_elsewhere(self, receipt: Receipt, shared: SharedOutcome) -> None:
        """Notes the outcome of a message that went another way. If nobody knows it, an `ErrorEvent` says so, too."""
        if shared.kind is SendUnknown:
            self._driver.feed(Reported("send", shared.unknown))
        receipt.shared_outcome = shared
        receipt.payload = b""
        if receipt.is_watched:
            self._post_outcome(receipt, shared)
            self._outbox.flush()

    def _post_outcome(self, receipt: Receipt, shared: SharedOutcome) -> None:
        self.watched -= 1
        for callback in receipt.take_waiters():
            self._outbox.post(partial(self._call, callback), shared)
        if receipt.tag is not None and shared.kind is not SendUnknown:
            self._outbox.post(self.outcomes.on_next, shared.of(receipt))

    def _call(self, callback: Callable[[SharedOutcome], None], shared: SharedOutcome) -> None:
        try:
            callback(shared)
        except BaseException as error:  # noqa: BLE001 - those who follow a receipt are as isolated as subscribers
            self._report(error)

    # For receipts

    def watch(self) -> None:
        """Counts one more receipt whose outcome somebody waits for."""
        self.watched += 1

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread."""
        self._loop.run(action)


def to_payload(message: object, is_binary: bool | None) -> tuple[bytes, bool]:  # noqa: FBT001 - hot path
    """What goes on the wire: the payload, and whether it is a text message.

    Raises:
        TypeError: If the message is of the wrong type for `is_binary`.
        ValueError: If a `str` holds an unpaired surrogate.
    """
    if isinstance(message, str):
        try:
            payload = message.encode()
        except UnicodeEncodeError:
            payload = None
        if payload is None:
            raise ValueError("the message has an unpaired surrogate, which UTF-8 cannot encode")
        return payload, not is_binary
    if isinstance(message, bytes) and is_binary is not False:
        return message, False
    if isinstance(message, bytearray | memoryview) and is_binary is not False:
        return bytes(cast("Any", message)), False
    wanted = "str" if is_binary is False else "str or bytes"
    hint = (
        "is_binary=True sends bytes"
        if isinstance(message, bytes | bytearray | memoryview)
        else 'codec="json" sends values'
    )
    raise TypeError(f"a message must be {wanted}, not {_type_name(message)}; {hint}")  # pyright: ignore[reportUnknownArgumentType]


def _type_name(value: object) -> str:
    return type(value).__name__
