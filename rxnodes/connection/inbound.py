"""The way of a message from the link to the subscribers."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakValueDictionary

from rxnodes.codecs import decode
from rxnodes.errors import DecodeError
from rxnodes.lifecycle.inputs import Reported
from rxnodes.rx.backpressure import deliver
from rxnodes.rx.streams import Derived, IsolatedSubject, View, Views, log_for

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.connection.parts import AnyParts

__all__ = ["Inbound"]

S = TypeVar("S", bound=IsolatedSubject[Any])
T = TypeVar("T")

#: How many messages are delivered in one go. If one read has brought more, other work may come between.
LONGEST_RUN: Final = 512


#: Stands for each view that nobody has asked for yet. Nobody ever subscribes to it.
_NOT_ASKED_FOR: Final[View[Any]] = View(log_for("nothing"), Views(RLock()))

#: Shared by all connections from which nobody takes batches. It is replaced, never changed.
_NO_BATCHES: dict[bool | None, IsolatedSubject[Any]] = {}


class Inbound:
    """Delivers the messages that a connection receives, in every form that subscribers want.

    A message enters by `take`. It waits in the outbox while another notification is being delivered. Then the streams
    show it, one after the other: as it came, as `str`, as `bytes`, in a batch, or as the value that a codec reads.

    Args:
        driver: The connection's driver.
        note_observed: Called, in whatever thread, when a subscriber has come or gone.
    """

    __slots__ = (
        *("_batches", "_binaries", "_driver", "_is_completed", "_last_shared", "_messages", "_note_observed"),
        *("_outbox", "_pause_control", "_report", "_texts", "_values", "_views"),
    )

    def __init__(self, driver: AnyParts, note_observed: Callable[[], None] | None) -> None:
        self._driver = driver
        self._outbox = driver.outbox
        self._pause_control = driver.pause_control
        self._report = driver.publisher.report
        self._is_completed = False
        self._note_observed = note_observed
        self._views = Views(driver.publisher.lifecycle.lock, note_observed)
        # All are made late: most connections need one of them, and there may be very many connections.
        self._messages: View[str | bytes] = _NOT_ASKED_FOR
        self._texts: View[str] = _NOT_ASKED_FOR
        self._binaries: View[bytes] = _NOT_ASKED_FOR
        self._batches = _NO_BATCHES
        self._values: WeakValueDictionary[Hashable, Any] | None = None
        self._last_shared: tuple[Hashable, Any] = (None, None)

    # The streams

    @property
    def is_observed(self) -> bool:
        """Whether anybody is shown messages, in whatever form."""
        return bool(self._views.observed) or any(stream.is_observed for stream in self._batches.values())

    @property
    def messages(self) -> View[str | bytes]:
        """Every message as it came."""
        with self._views.lock:
            if self._messages is _NOT_ASKED_FOR:
                self._messages = self._make(View(self._report, self._views))
            return self._messages

    @property
    def texts(self) -> View[str]:
        """Every message as `str`."""
        with self._views.lock:
            if self._texts is _NOT_ASKED_FOR:
                self._texts = self._make(View(self._report, self._views))
            return self._texts

    @property
    def binaries(self) -> View[bytes]:
        """Every message as `bytes`."""
        with self._views.lock:
            if self._binaries is _NOT_ASKED_FOR:
                self._binaries = self._make(View(self._report, self._views))
            return self._binaries

    def batches(self, *, is_binary: bool | None) -> Observable[Any]:
        """The messages of one read of the socket as a list: of `str`, of `bytes`, or (for `None`) as they came."""
        with self._views.lock:
            stream = self._batches.get(is_binary)
            if stream is None:
                # Not one of the other views: a batch is shown besides the single messages.
                stream = self._make(View[Any](self._report, Views(self._views.lock, self._note_observed)))
                # Replaced, not changed: the loop's thread may be iterating over it.
                self._batches = {**self._batches, is_binary: stream}
            return stream

    def _make(self, stream: S) -> S:
        """Completes a new stream at once, if the connection has completed. The lock is held."""
        if self._is_completed:
            stream.on_completed()
        return stream

    def values(self, codec: Codec[Any], *, batched: bool = False) -> Observable[Any]:
        """Every message as a codec reads it; batched, those of one read of the socket as a list.

        A message that does not fit is refused. Everybody with the same codec shares one stream while it is in use, so
        that a message is decoded once, and refused once.
        """
        make = self._values_of_batches if batched else self._values_of_messages
        return self._held_by_others((codec, batched), lambda: make(codec))

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """The object that nodes share under a key. It lives as long as anybody holds it.

        The last one is held here, because a program that makes one request after the other needs it each time.
        """
        last_key, thing = self._last_shared
        if last_key != key:
            thing = self._held_by_others(key, make)
            if not self._is_completed:
                self._last_shared = (key, thing)
        return cast("T", thing)

    def _held_by_others(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._views.lock:
            if self._values is None:
                self._values = WeakValueDictionary()
            thing = cast("T | None", self._values.get(key))
            if thing is None:
                thing = self._values[key] = make()
        return thing

    def _values_of_messages(self, codec: Codec[Any]) -> Derived[Any]:
        def relay(message: str | bytes, emit: Callable[[Any], None]) -> None:
            try:
                value = decode(codec, message)
            except DecodeError as error:
                self._refuse(error)
            else:
                emit(value)

        return Derived(self.messages, relay)

    def _values_of_batches(self, codec: Codec[Any]) -> Derived[Any]:
        def relay(messages: list[str] | list[bytes], emit: Callable[[Any], None]) -> None:
            if values := self._decode(codec, messages):
                emit(values)

        return Derived(cast("IsolatedSubject[Any]", self.batches(is_binary=None)), relay)

    def complete(self) -> None:
        """Completes the streams."""
        with self._views.lock:
            # From here on, `_make` completes each new stream.
            self._is_completed = True
            # It refers to the connection, and would keep it alive.
            self._last_shared = (None, None)
        streams: tuple[IsolatedSubject[Any], ...] = (self._messages, self._texts, self._binaries)
        for stream in (*streams, *self._batches.values()):
            if stream is not _NOT_ASKED_FOR:
                stream.on_completed()

    # Messages

    def take(self, messages: list[str] | list[bytes]) -> None:
        """Messages have come, all of one kind. This is the hot path."""
        if len(messages) <= LONGEST_RUN:
            self._outbox.send(self._show_read, messages)
            return
        self.post(messages)
        self._outbox.flush()

    def post(self, messages: list[str] | list[bytes]) -> None:
        """Queues messages, all of one kind, behind the notifications that wait."""
        for begin in range(0, len(messages), LONGEST_RUN):
            self._outbox.post(self._show_read, messages[begin : begin + LONGEST_RUN])

    def _show_read(self, messages: list[str] | list[bytes]) -> None:
        """Shows the messages of one read. A consumer that cannot keep up may pause the source meanwhile."""
        deliver(self._pause_control, self._show, messages)

    def _show(self, messages: list[str] | list[bytes]) -> None:
        """Shows the batches, and then each message to all; the whole list at once where only one view is observed."""
        for is_binary, stream in self._batches.items():
            if stream.is_observed and (batch := self._in_form(messages, is_binary=is_binary)):
                stream.on_next(batch)
        done = 0
        while done < len(messages) and self._views.observed:
            done += self._messages.emit_run(messages, done)
            done += (self._texts if isinstance(messages[0], str) else self._binaries).emit_run(messages, done)
            for message in messages[done : done + 1]:
                self._show_one(message)
                done += 1

    def _show_one(self, message: str | bytes) -> None:
        self._messages.on_next(message)
        if self._texts.is_observed:
            text = message if isinstance(message, str) else self._text_of(message)
            if text is not None:
                self._texts.on_next(text)
        if self._binaries.is_observed:
            self._binaries.on_next(message if isinstance(message, bytes) else message.encode())

    def _in_form(self, messages: list[str] | list[bytes], *, is_binary: bool | None) -> list[str] | list[bytes]:
        if is_binary is None or is_binary is isinstance(messages[0], bytes):
            return messages
        if is_binary:
            return [message.encode() if isinstance(message, str) else message for message in messages]
        texts = (message if isinstance(message, str) else self._text_of(message) for message in messages)
        return [text for text in texts if text is not None]

    def _text_of(self, message: bytes) -> str | None:
        """The text of a binary message; `None` if it is not UTF-8: then it is refused."""
        try:
            return message.decode()
        except UnicodeDecodeError as error:
            reason = f"a binary message of {len(message)} bytes is not UTF-8: {error.reason} at byte {error.start}"
        self._refuse(DecodeError(reason))
        return None

    def _decode(self, codec: Codec[Any], messages: Iterable[str | bytes]) -> list[Any]:
        """The values of the messages that fit. Each of the others is refused."""
        values: list[Any] = []
        for message in messages:
            try:
                values.append(decode(codec, message))
            except DecodeError as error:
                self._refuse(error)
        return values

    def _refuse(self, error: DecodeError) -> None:
        # Without our traceback, which would keep the message alive. The cause has one of its own.
        self._driver.feed(Reported("receive", error.with_traceback(None)))
