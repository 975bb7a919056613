"""Connection: feeds the machine, runs its effects on a transport, and publishes what it tells on streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from copy import copy
from functools import partial
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

from rxnodes.codecs import as_codec, decode, encode
from rxnodes.connection.before_connect import Attempt
from rxnodes.errors import (
    ConnectError,
    ConnectionLost,
    DecodeError,
    HandlerError,
    RxNodesError,
    SendError,
    text_of,
    with_type,
)
from rxnodes.lifecycle.events import ErrorEvent, LifecycleEvent, Opened, Stopped, Traffic
from rxnodes.lifecycle.inputs import (
    Abort,
    AbortLink,
    CancelTimer,
    CloseNow,
    CloseReceived,
    CloseSent,
    Delivered,
    Dial,
    Discarded,
    Effect,
    Elapsed,
    HandshakeDone,
    Input,
    Lost,
    Now,
    Postponed,
    Reported,
    SendClose,
    SetTimer,
    Shutdown,
    Start,
    Stop,
    Violated,
)
from rxnodes.lifecycle.machine import Phase, Profile, State, step
from rxnodes.lifecycle.states import ConnectionState, check_close
from rxnodes.rx.arguments import UNSET
from rxnodes.rx.backpressure import Valve, deliver
from rxnodes.rx.clock import utc_now
from rxnodes.rx.forking import guard
from rxnodes.rx.streams import Derived, IsolatedBehaviorSubject, IsolatedSubject, Outbox, View, Views, call_on
from rxnodes.transport.receipts import Backlog, Fate, HandOver, Receipt, SendDropped, SendOutcome, Sent, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime
    from typing import TypeAlias

    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import Codec, CodecName, CodecOf
    from rxnodes.connection.before_connect import Preparation, Preparing
    from rxnodes.errors import ProtocolError
    from rxnodes.lifecycle.events import ErrorPhase
    from rxnodes.lifecycle.policy import Policy
    from rxnodes.transport.base import Link, Target, Transport
    from rxnodes.transport.receipts import DropReason

    Binary: TypeAlias = bytes | bytearray | memoryview
    """What can be sent as a binary message. It is copied where it could change."""

__all__ = ["CODEC_DECIDES", "Connection", "check_connection", "inherited", "to_payload"]

T = TypeVar("T")

logger = logging.getLogger("rxnodes")

# Looking a member up costs more than the rest of the question, once for each message sent.
OPEN = Phase.OPEN

#: Where a message may wait for the connection to open.
OPENING = frozenset({Phase.CONNECTING, Phase.DROPPING, Phase.RECONNECTING})

#: What is said to those who ask for a codec and for a form of raw messages.
CODEC_DECIDES = "is_binary is for raw messages: a codec decides for itself what goes as text and what as binary"

#: How many messages are delivered in one go. Of what one read has brought beyond that, others may have to wait.
LONGEST_RUN = 512

#: What is handed to a loop, and who waits. Held for moments only, so that all connections share one; not that of their
#: streams, which operators hold while they notify.
_lock = RLock()
guard(_lock)


class Connection:
    """A configuration at run time: it can be started and stopped many times.

    Projects make connections; `project.websocket("chat")` gives the one of that name. All commands return at once,
    never block, and may be called from any thread. On the loop's own thread they take effect before they return.

    Attributes:
        name: The configuration's name.
        codec: What the nodes write and read messages with where nothing else is said; `None`: they are sent and given
            as they are.
        states: The `ConnectionState`: the last one delivered for each new subscriber, then every change.
        lifecycle: Every lifecycle event, in order.
        messages: Every message as it came: `str` for text, `bytes` for binary.
        errors: Every `ErrorEvent`.
        latency: The round-trip time of each heartbeat's ping, in seconds.
        sends: What became of each message that was sent with a tag.

    The streams are hot. They never error, and complete when the project closes.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = chat.states.subscribe(lambda state: print(state.name))
        IDLE
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_batches",
        "_binaries",
        "_delivering",
        "_errors",
        "_expiry",
        "_handed_over",
        "_inputs",
        "_is_closed",
        "_is_inherited",
        "_is_stepping",
        "_last_opened",
        "_last_stopped",
        "_latency",
        "_lifecycle",
        "_link",
        "_loop",
        "_machine",
        "_messages",
        "_open_waiters",
        "_opened",
        "_outbox",
        "_preparation",
        "_preparing",
        "_sends",
        "_settled",
        "_settled_session",
        "_sink",
        "_states",
        "_stop_waiters",
        "_stopped",
        "_target",
        "_texts",
        "_thread",
        "_timer",
        "_transport",
        "_values",
        "_valve",
        "_views",
        "_watched",
        "codec",
        "name",
    )

    def __init__(  # noqa: PLR0913 - a connection is put together from these
        self,
        name: str,
        target: Target,
        policy: Policy,
        transport: Transport,
        preparation: Preparation | None = None,
        *,
        codec: Codec[Any] | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self._target = target
        self._transport = transport
        self._preparation = preparation
        self._machine = State(profile=Profile(name=name, url=target.redacted_url, policy=policy))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._is_closed = False
        self._is_inherited = False

        self._inputs: list[Input] = []
        self._is_stepping = False
        # Of the attempt: what its link calls, and its link, or before that its hook.
        self._sink: _AttemptSink | None = None
        self._link: Link | None = None
        self._preparing: Preparing | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._valve = Valve(self._on_valve, self.run_on_loop)

        # Both are made late: most connections need none.
        self._handed_over: HandOver | None = None
        self._backlog: Backlog | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._watched = 0

        self._outbox = Outbox(self.on_pipeline_error, self._valve)
        self._delivering: LifecycleEvent | None = None
        self._settled_session = 0
        self._last_opened: Opened | None = None
        self._last_stopped: Stopped | None = None
        self._open_waiters: list[asyncio.Future[Opened]] = []
        self._stop_waiters: list[asyncio.Future[Stopped]] = []

        report, lock = self.on_handler_error, RLock()
        self._states: IsolatedBehaviorSubject[ConnectionState] = IsolatedBehaviorSubject(
            report, ConnectionState.IDLE, self._replay, lock
        )
        self._lifecycle: IsolatedSubject[LifecycleEvent] = IsolatedSubject(report, lock)
        self._errors: IsolatedSubject[ErrorEvent] = IsolatedSubject(report, lock)
        self._opened: IsolatedSubject[Opened] = IsolatedSubject(report, lock)
        self._stopped: IsolatedSubject[Stopped] = IsolatedSubject(report, lock)
        self._settled: IsolatedSubject[Stopped] = IsolatedSubject(report, lock)
        self._latency: IsolatedSubject[float] = IsolatedSubject(report, lock)
        self._sends: IsolatedSubject[SendOutcome] = IsolatedSubject(report, lock)
        self._views = views = Views(lock)
        self._messages: View[str | bytes] = View(report, views)
        self._texts: View[str] = View(report, views)
        self._binaries: View[bytes] = View(report, views)
        self._batches: dict[bool | None, IsolatedSubject[Any]] = {}
        self._values: WeakValueDictionary[tuple[Codec[Any], bool], Derived[Any]] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.name!r} {self.state.value}, session {self.session}>"

    # What it is

    @property
    def state(self) -> ConnectionState:
        """The state at this moment. It may be ahead of what `states` has delivered."""
        return self._machine.phase.state

    @property
    def session(self) -> int:
        """The number of the live or last session; 0 before the first start."""
        return self._machine.session

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt within the session."""
        return self._machine.attempt

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet."""
        return self._machine.session > self._settled_session

    @property
    def states(self) -> Observable[ConnectionState]:
        """The state: the last one delivered for each new subscriber, then every change.

        ::

            commands:                 -----start-------------stop-----------
            states:                   idle-connecting-open---closing-closed-
            states, to a later one:                     open-closing-closed-
        """
        return self._states

    @property
    def lifecycle(self) -> Observable[LifecycleEvent]:
        """Every lifecycle event, in order.

        ::

            commands:   -start----------------------------------stop--------
            the peer:   -------accepts--resets----------accepts------closes-
            lifecycle:  -C-----O--------(ED)----C-------O-------X----S------

        `C` is `Connecting`, `O` `Opened`, `E` `ErrorEvent`, `D` `Dropped`, `X` `Closing`, and `S` `Stopped`.
        """
        return self._lifecycle

    @property
    def messages(self) -> Observable[str | bytes]:
        """Every message as it came: `str` for text, `bytes` for binary; of all sessions, one after the other.

        ::

            states:       open-----------closing----closed-connecting-open----
            on the wire:  ---"a"--b"b"----------"c"-----------------------"d"-
            messages:     ---"a"--b"b"----------"c"-----------------------"d"-
        """
        return self._messages

    @property
    def errors(self) -> Observable[ErrorEvent]:
        """Every `ErrorEvent`.

        ::

            what goes wrong:  --refused-------reset-------
            errors:           --E(connect)----E(receive)--
        """
        return self._errors

    @property
    def latency(self) -> Observable[float]:
        """The round-trip time of each heartbeat's ping, in seconds.

        ::

            pings:    --1-------2-------3-------
            pongs:    ----1------2---------3----
            latency:  ----0.2----0.1-------0.3--
        """
        return self._latency

    @property
    def sends(self) -> Observable[SendOutcome]:
        """What became of each message that was sent with a tag: `Sent`, `SendDropped` or `Unsent`.

        ::

            send(tag=):                 --"a"--none--"b"----------------
            left for the network:       --"a"--------------the end------
            sends:                      --Sent("a")--------Unsent("b")--
        """
        return self._sends

    # What the nodes listen to

    @property
    def opened(self) -> Observable[Opened]:
        """Every `Opened`."""
        return self._opened

    @property
    def stopped(self) -> Observable[Stopped]:
        """Every `Stopped`."""
        return self._stopped

    @property
    def settled(self) -> Observable[Stopped]:
        """Every `Stopped`, once all its subscribers have seen it: then no session is live."""
        return self._settled

    @property
    def texts(self) -> Observable[str]:
        """Every message as `str`; a binary one is decoded as UTF-8, or is an `ErrorEvent` of phase `receive`."""
        return self._texts

    @property
    def binaries(self) -> Observable[bytes]:
        """Every message as `bytes`; a text one as its UTF-8."""
        return self._binaries

    def batches(self, *, is_binary: bool | None) -> Observable[Any]:
        """What one read of the socket brought, as a list: of `str`, of `bytes`, or as it came. Very much is cut."""
        with self._views.lock:
            stream = self._batches.get(is_binary)
            if stream is None:
                stream = IsolatedSubject[Any](self.on_handler_error, self._views.lock)
                # Replaced, not changed: the loop's thread may be going through it.
                self._batches = {**self._batches, is_binary: stream}
                is_late = self._is_closed
            else:
                is_late = False
        if is_late:
            stream.complete()
        return stream

    def values(self, codec: Codec[Any], *, batched: bool = False) -> Observable[Any]:
        """What a codec reads of every message, or of the list of those that one read of the socket brought.

        A message that does not fit is an `ErrorEvent` of phase `receive`. Where the stream of a codec is in use, it is
        given again, so that a message is decoded, and reported, once.
        """
        with self._views.lock:
            if self._values is None:
                # Made late: most connections need none, and there may be very many of them.
                self._values = WeakValueDictionary()
            stream = self._values.get((codec, batched))
            if stream is None:
                stream = self._read_batches(codec) if batched else self._read_messages(codec)
                self._values[codec, batched] = stream
        return stream

    @property
    def last_stopped(self) -> Stopped | None:
        """The `Stopped` of the last session that is over."""
        return self._last_stopped

    @property
    def last_opened(self) -> Opened | None:
        """The last `Opened`, of whatever session."""
        return self._last_opened

    def now(self) -> datetime:
        """The time of day in UTC, as its events have it."""
        return utc_now(self._loop)

    def tell(self, deliver: Callable[[T], None], value: T) -> None:
        """Delivers a node's own notification in its turn, behind the one under way. On the loop's thread only."""
        self._outbox.send(deliver, value)

    # Commands

    def start(self) -> None:
        """Begins a session. While one is connecting or open, nothing; while one is closing, once it has stopped.

        Raises:
            RxNodesError: If the project is not open yet. Once it is being left, this does nothing.
        """
        self._command(Start())

    def send(
        self,
        message: object,
        *,
        is_binary: bool | None = None,
        codec: CodecOf[Any] | CodecName | TypeForm[Any] | None = UNSET,
        tag: object = None,
    ) -> Receipt:
        """Sends a message.

        Not being open is an `ErrorEvent` of phase `send`, unless `send_queue.while_connecting` lets messages wait. So
        is a full send queue.

        Args:
            message: The message. A `bytearray` or `memoryview` is copied, and counts as `bytes`. With a codec, a value.
            is_binary: `None`: a `str` goes as a text message, `bytes` as a binary one. `False`: a text message, from a
                `str`. `True`: a binary message; a `str` is encoded as UTF-8.
            codec: What writes the message: `"json"`, `"msgpack"`, a type (a pydantic model, a dataclass, `list[int]`,
                ...), a pair of functions `(encode, decode)`, or a `Codec`. `None`: none. Left out: the connection's
                own, if its settings name one, unless `is_binary` is `True` or `False`.
            tag: Anything but `None`: what becomes of the message is emitted on `sends`, with this tag.

        Returns:
            The message's receipt. Awaiting it gives what became of the message; it can be ignored.

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
                raise TypeError(CODEC_DECIDES)
            message = encode(as_codec(cast("CodecOf[Any]", codec)), message)
        payload, is_text = to_payload(message, is_binary=is_binary)
        receipt = Receipt(self, payload, is_text, tag)
        if get_ident() == self._thread:
            self._send(receipt)
        else:
            self._check_has_loop()
            self._hand_over_message(receipt)
        return receipt

    def stop(self, *, code: int = 1000, reason: str = "") -> None:
        """Begins to end the session, and returns. `Stopped` tells when it is over.

        What was sent before goes out first, and what still comes until the peer's Close frame is delivered. A dial
        under way and a retry that is waiting are cancelled.

        Args:
            code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: If the code must not be sent, or the reason does not fit.
            RxNodesError: If the project is not open yet. Once it has been left, this does nothing.
        """
        check_close(code, reason)
        self._command(Stop(code, reason))

    def abort(self) -> None:
        """Ends the session without a closing handshake. `Stopped` tells when it is over.

        Raises:
            RxNodesError: If the project is not open yet. Once it has been left, this does nothing.
        """
        self._command(Abort())

    def shutdown(self) -> None:
        """Stops, and starts nothing any more: the project is being left."""
        self.run_on_loop(lambda: self._feed(Shutdown()))

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent` that changes no state."""
        self._command(Reported(phase, error))

    def report_unwritten(self, error: SendError, tag: object) -> None:
        """Publishes what kept a message from being made, and for a tag what became of the message: nothing."""

        def drop() -> None:
            if tag is not None:
                self._watched += 1
            self._drop(Receipt(self, b"", False, tag), error, "no message")  # noqa: FBT003

        self._check_has_loop()
        self.run_on_loop(drop)

    # Waiting

    async def wait_started(self) -> Opened:
        """Waits until the live session is open.

        Returns:
            The session's last `Opened`, at once when there is one; when no session is live, that of the last one.

        Raises:
            ConnectError: If the session ended without ever being open.
            RxNodesError: If the project closed before a first start.
        """
        return await self._wait(self._start_answer, self._open_waiters)

    async def wait_stopped(self) -> Stopped:
        """Waits until the live session is over and every subscriber has seen its `Stopped`.

        Returns:
            The live session's `Stopped`; when none is live, the last one, at once. Before the first start it waits.

        Raises:
            RxNodesError: If the project closed before a first start.
        """
        return await self._wait(self._stop_answer, self._stop_waiters)

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Gives a future, of whatever loop, what `wait_stopped` waits for."""
        self._tell(future, self._stop_answer, self._stop_waiters)

    def _start_answer(self) -> Opened | RxNodesError | None:
        """What those learn who wait for the start; `None`: that is open."""
        opened = self._last_opened
        if opened is not None and opened.session == self.session:
            return opened
        if not self.is_live and self._last_stopped is not None:
            return _never_opened(self._last_stopped)
        return self._no_answer()

    def _stop_answer(self) -> Stopped | RxNodesError | None:
        """What those learn who wait for the end; `None`: that is open."""
        if not self.is_live and self._last_stopped is not None:
            return self._last_stopped
        return self._no_answer()

    def _no_answer(self) -> RxNodesError | None:
        """Why there will never be one; `None`: there may be."""
        if self._is_closed:
            return self._closed_before_start()
        return self._no_loop_any_more()

    async def _wait(self, ask: Callable[[], T | RxNodesError | None], waiters: list[asyncio.Future[T]]) -> T:
        """Waits for an answer on the caller's own loop, whichever that is; at once, where the answer is known."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tell(future, ask, waiters)
        try:
            return await future
        finally:
            # What it raises knows this frame: a cycle, if the frame knew it as well.
            del future

    def _tell(
        self, future: asyncio.Future[T], ask: Callable[[], T | RxNodesError | None], waiters: list[asyncio.Future[T]]
    ) -> None:
        if self._is_inherited:
            raise inherited(repr(self.name))
        # Behind what this thread has asked for so far, such as a start.
        self.run_on_loop(partial(self._add_waiter, future, ask, waiters))

    def _add_waiter(
        self, future: asyncio.Future[T], ask: Callable[[], T | RxNodesError | None], waiters: list[asyncio.Future[T]]
    ) -> None:
        # Whoever waits before the connection has a loop may do so on any thread, also while it is being given one.
        with _lock:
            # Those who have stopped waiting are let go: whoever asks again and again must not make it grow.
            waiters[:] = [*(waiter for waiter in waiters if not waiter.done()), future]
        self._answer(ask, waiters)

    def _answer(self, ask: Callable[[], T | RxNodesError | None], waiters: list[asyncio.Future[T]]) -> None:
        """Wakes those who wait, if there is an answer."""
        if not waiters or (answer := ask()) is None:
            return
        with _lock:
            told = waiters.copy()
            waiters.clear()
        for future in told:
            call_on(future.get_loop(), _resolve, future, answer)

    def _closed_before_start(self) -> RxNodesError:
        return RxNodesError(f"{self.name!r}: the project closed before the connection was started")

    # Life with a loop

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets the connection live on `loop`, which runs in the thread of that identifier."""
        self._loop = loop
        self._thread = thread

    def detach(self) -> None:
        """Completes all streams: its project has been left, and no session is live any more."""
        # Under the lock of its streams, too: one that is asked for late is completed here, or by whoever makes it.
        with self._views.lock, _lock:
            self._is_closed = True
        streams: tuple[IsolatedSubject[Any], ...] = (
            self._states,
            self._lifecycle,
            self._errors,
            self._opened,
            self._stopped,
            self._settled,
            self._latency,
            self._sends,
            self._messages,
            self._texts,
            self._binaries,
            *self._batches.values(),
        )
        for stream in streams:
            stream.complete()
        self._answer(self._start_answer, self._open_waiters)
        self._answer(self._stop_answer, self._stop_waiters)

    def disown(self) -> None:
        """In a forked process: all this is the parent's. Commands say so, and what is still called does nothing."""
        self._is_inherited = self._is_closed = True
        self._thread = 0
        waiters: list[asyncio.Future[Any]] = [*self._open_waiters, *self._stop_waiters]
        self._open_waiters.clear()
        self._stop_waiters.clear()
        for future in waiters:
            # Its loop may be one of another thread, which is not here.
            with contextlib.suppress(RuntimeError):
                # Quietly, for whoever waited does so in the parent; but who leaves cannot be cancelled.
                if not future.cancel():
                    _resolve(future, inherited(repr(self.name)))

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread: at once where that is this one, or where there is no loop (any more)."""
        if get_ident() == self._thread or not self._hand_over(action):
            action()

    def _hand_over(self, action: Callable[[], None]) -> bool:
        """Hands `action` to the loop, if there is one (still)."""
        # What is handed over before the end is run; later it would be lost.
        with _lock:
            if self._loop is None or self._is_closed:
                return False
            if self._handed_over is not None:
                # What is sent from here on comes behind it.
                self._handed_over.is_sealed = True
            try:
                self._loop.call_soon_threadsafe(action)
            except RuntimeError:
                # It was closed without the project's having been left.
                return False
        return True

    def _command(self, input_: Input) -> None:
        self._check_has_loop()
        if get_ident() == self._thread:
            self._feed(input_)
        else:
            self.run_on_loop(lambda: self._feed(input_))

    # Sending

    def _hand_over_message(self, receipt: Receipt) -> None:
        """Hands a message to the loop, which is woken once for all that come until it takes them over."""
        assert self._loop is not None
        with _lock:
            if self._handed_over is None:
                self._handed_over = HandOver(self._target.send_queue)
            handed_over = self._handed_over
            is_joining = not (handed_over.is_sealed or self._loop.is_closed())
            if is_joining or self._hand_over(partial(self._take_over, handed_over, handed_over.batch + 1)):
                if not is_joining:
                    handed_over.begin()
                handed_over.add(receipt, self._loop.time())
                return
        # There is no loop any more that it could wait for.
        self._send(receipt)

    def _take_over(self, handed_over: HandOver, batch: int) -> None:
        """Sends what other threads have handed over."""
        assert self._loop is not None
        with _lock:
            receipts, overflowed = handed_over.take(batch)
        now = self._loop.time()
        expired: list[Receipt] = []
        for receipt in receipts:
            if receipt.due <= now and self._takes_messages():
                expired.append(receipt)
            else:
                self._send(receipt, receipt.due)
        # At last: whoever is told of it may stop.
        self._watched += sum(receipt.tag is not None for receipt in (*expired, *overflowed))
        self._discard(overflowed)
        self.on_overflow(overflowed)
        self._give_up(expired)

    def _takes_messages(self) -> bool:
        """Whether a message can be sent now, or waits for the connection to open."""
        phase = self._machine.phase
        return phase is OPEN or (self._target.send_queue.while_connecting and phase in OPENING)

    def _send(self, receipt: Receipt, due: float | None = None) -> None:
        """Sends a message, which has been waiting already where it is said how long it may."""
        if receipt.tag is not None:
            self._watched += 1
        if self._link is not None and self._machine.phase is OPEN:
            self._give(self._link, receipt)
        elif self._target.send_queue.while_connecting and self._machine.phase in OPENING:
            assert self._loop is not None
            receipt.due = self._target.send_queue.due(self._loop.time()) if due is None else due
            self._hold(receipt)
        else:
            # What it brought is still being delivered.
            is_lost = self._machine.phase is OPEN
            why = "has lost its peer" if is_lost else f"is {self.state.value}, not open"
            error = SendError(f"{self.name!r} {why}: message not sent")
            self._drop(receipt, error, "not open")

    def _give(self, link: Link, receipt: Receipt) -> None:
        """Gives the link a message, of which it tells what becomes."""
        try:
            link.send(receipt)
        except BaseException as error:  # noqa: BLE001 - as in _tell_link
            # Not asked before, once for each message: a closed loop, under a project that was not left.
            self._check_has_loop()
            assert self._sink is not None
            self._sink.stranded += (receipt,)
            self._on_transport_failure(self._sink, "link", error)

    def _drop(self, receipt: Receipt, error: SendError, reason: DropReason) -> None:
        self._feed(Reported("send", error))
        self.settle_sends((receipt,), SendDropped, reason=reason)

    def _hold(self, receipt: Receipt) -> None:
        """Lets a message wait for the connection to open."""
        if self._backlog is None:
            self._backlog = Backlog(self._target.send_queue)
        overflowed = self._backlog.add(receipt)
        if self._expiry is None:
            self._expire_later()
        # At last: whoever is told of it may stop, and then nothing waits any more.
        self._discard(overflowed)
        self.on_overflow(overflowed)

    def _expire_later(self) -> None:
        assert self._loop is not None
        assert self._backlog is not None
        if self._backlog.due is not None:
            self._expiry = self._loop.call_at(self._backlog.due, self._expire)

    def _expire(self) -> None:
        """Gives up the messages that have waited too long."""
        assert self._loop is not None
        assert self._backlog is not None
        self._expiry = None
        expired = self._backlog.take_expired(self._loop.time())
        self._expire_later()
        self._give_up(expired)

    def _give_up(self, expired: Collection[Receipt]) -> None:
        self._discard(expired)
        self.settle_sends(expired, SendDropped, reason="expired")

    def _discard(self, receipts: Collection[Receipt]) -> None:
        """Counts messages that were given up before any link had them: of a session that could still have sent them."""
        assert self._loop is not None
        state = self._machine
        if receipts and (state.phase is OPEN or state.phase in OPENING):
            # Nothing comes of it but the count, so that it need not wait for its turn behind another input.
            self._machine = step(state, Discarded(len(receipts)), self._now()).state

    def _take_backlog(self) -> Collection[Receipt]:
        """What waited for the connection to open, which waits no more."""
        assert self._backlog is not None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        backlog, self._backlog = self._backlog, None
        return backlog.receipts

    def _send_backlog(self, _: object = None) -> None:
        """Sends what waited for the connection to open."""
        link = self._link
        if self._backlog is None or link is None or self._machine.phase is not OPEN:
            return
        assert self._loop is not None
        now = self._loop.time()
        expired: list[Receipt] = []
        for receipt in self._take_backlog():
            # The timer may not have had its turn yet, where somebody took long over what was told.
            if receipt.due <= now:
                expired.append(receipt)
            else:
                self._give(link, receipt)
        self._give_up(expired)

    def on_overflow(self, receipts: Collection[Receipt]) -> None:
        """The send queue has no room for these messages."""
        if self._target.send_queue.overflow == "error":
            problem = SendError(f"{self.name!r}: the send queue is full, message not sent; send_queue sets its bounds")
            for _ in receipts:
                self._feed(Reported("send", problem))
        self.settle_sends(receipts, SendDropped, reason="full")

    def watch(self) -> None:
        """One receipt more has somebody who waits for its outcome."""
        self._watched += 1

    def settle_sends(self, receipts: Collection[Receipt], kind: type[SendOutcome], **more: Any) -> None:
        """These messages have met their fate. Nothing is made of it where nobody asked."""
        if not receipts:
            return
        state = self._machine
        numbers = (state.session, state.attempt) if state.is_live else (0, 0)
        fate = Fate(kind, self.name, *numbers, self.now(), more)
        for receipt in receipts:
            receipt.fate = fate
            receipt.payload = b""
        if self._watched:
            for receipt in receipts:
                if receipt.is_watched:
                    self._post_outcome(receipt, fate.outcome(receipt.tag, receipt.size))
            # What is unsent is told with the end that made it so: before, the connection would seem to be open to those
            # who send it again.
            if not self._is_stepping and kind is not Unsent:
                self._outbox.flush()

    def _post_outcome(self, receipt: Receipt, outcome: SendOutcome) -> None:
        self._watched -= 1
        for tell in receipt.take_waiters():
            self._outbox.post(partial(self._tell_waiter, tell), outcome)
        if receipt.tag is not None:
            self._outbox.post(self._sends.emit, outcome)

    def _tell_waiter(self, tell: Callable[[SendOutcome], None], outcome: SendOutcome) -> None:
        try:
            tell(outcome)
        except BaseException as error:  # noqa: BLE001 - an observer of a request's, as isolated as any subscriber
            self.on_handler_error(error)

    # The machine

    def _feed(self, input_: Input) -> None:
        """Steps the machine at once; what it tells is delivered in its turn.

        An effect may lead to another input while it is being run: that one comes next, so that a step is never begun
        within a step.
        """
        if self._is_closed or self._no_loop_any_more():
            if isinstance(input_, Reported):
                logger.warning("%s: %s", self.name, input_.error)
            return
        self._inputs.append(input_)
        if self._is_stepping:
            return
        self._is_stepping = True
        left: Iterator[Input] = iter(())
        try:
            while self._inputs:
                # What comes meanwhile goes behind these: taken from its head, a long list is moved each time.
                left, self._inputs = iter(self._inputs), []
                for one in left:
                    self._step(one)
        finally:
            self._inputs[:0] = left
            self._is_stepping = False
        self._outbox.flush()

    def _check_has_loop(self) -> None:
        """Refuses a command that nobody can carry out. Once the project has been left, it does nothing."""
        if self._is_inherited:
            raise inherited(repr(self.name))
        if self._is_closed:
            return
        if self._loop is None:
            raise RxNodesError(f"{self.name!r}: its project is not open; enter it with 'async with' or 'with' first")
        if (problem := self._no_loop_any_more()) is not None:
            raise problem

    def _no_loop_any_more(self) -> RxNodesError | None:
        """Why nothing can happen any more, where a program has ended its loop under the project."""
        if self._loop is not None and self._loop.is_closed():
            return RxNodesError(f"{self.name!r}: the event loop was closed, and its project not left")
        return None

    def _step(self, input_: Input) -> None:
        assert self._loop is not None
        if self._backlog is not None and isinstance(input_, Stop | Shutdown):
            # Also where somebody stops who is told that it is open, and before all others are.
            self._send_backlog()
        now = self._now()
        was_open = self._machine.phase is OPEN
        after, effects, events = step(self._machine, input_, now)
        if self._backlog is not None and after.phase not in OPENING and after.phase is not OPEN:
            # Given up before the end is told, which counts them. The machine is pure: it can be asked again.
            given_up = self._take_backlog()
            self._discard(given_up)
            self.settle_sends(given_up, Unsent)
            after, effects, events = step(self._machine, input_, now)
        self._machine = after
        is_logged = logger.isEnabledFor(logging.DEBUG)
        for event in events:
            if is_logged:
                logger.debug("%s: %s", self.name, event)
            self._outbox.post(self._deliver, event)
        for effect in effects:
            self._perform(effect)
        if self._backlog is not None and after.phase is OPEN and not was_open:
            # Behind what is sent by those who are told that it is open, such as a login.
            self._outbox.post(self._send_backlog, None)

    def _now(self) -> Now:
        assert self._loop is not None
        return Now(utc_now(self._loop), self._loop.time(), random.random())  # noqa: S311 - jitter is no secret

    def _perform(self, effect: Effect) -> None:
        # The commonest first; matching patterns took three times as long.
        if isinstance(effect, SetTimer):
            self._set_timer(effect)
        elif isinstance(effect, CancelTimer):
            self._cancel_timer()
        elif isinstance(effect, Dial):
            self._begin_attempt(effect)
        elif self._link is not None:
            self._order(effect)
        elif self._preparing is not None:
            # Nothing can be open, nor be closed, before there is a link.
            self._preparing.abort()

    def _order(self, effect: SendClose | CloseNow | AbortLink) -> None:
        if isinstance(effect, SendClose):
            self._tell_link(lambda link: link.close(effect.code, effect.reason))
        elif isinstance(effect, CloseNow):
            self._tell_link(lambda link: link.close_now(effect.code, effect.reason))
        else:
            self._tell_link(lambda link: link.abort())

    # The attempt

    def _begin_attempt(self, dial: Dial) -> None:
        self._sink = sink = _AttemptSink(self, dial.session, dial.attempt)
        if self._preparation is None:
            self._dial(sink, self._target)
            return
        self._preparing = self._preparation.begin(
            Attempt(connection=self.name, session=dial.session, attempt=dial.attempt, error=dial.last_error),
            sink,
            partial(self._dial, sink),
            lambda delay: self._feed(Postponed(dial.session, dial.attempt, delay)),
        )

    def _dial(self, sink: _AttemptSink, target: Target) -> None:
        """Has the transport dial. One that raises has refused the start."""
        self._preparing = None
        try:
            self._link = _check_link(self._transport.dial(target, sink))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the session has to end
            self._on_transport_failure(sink, "dial", error)
            return
        if self._valve.is_closed:
            self._tell_link(lambda link: link.pause_reading())

    def _tell_link(self, tell: Callable[[Link], None]) -> None:
        """Has the link do something, where there is one. One that raises, as no link may, is at its end."""
        link, sink = self._link, self._sink
        if link is None or sink is None:
            return
        try:
            tell(link)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._on_transport_failure(sink, "link", error)

    def _on_transport_failure(self, sink: _AttemptSink, what: str, error: BaseException) -> None:
        """The transport has broken its contract: the attempt ends, whatever the transport says of it or does not."""
        assert self._loop is not None
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self._raise_soon(error)
        if sink is not self._sink or sink.failure is not None:
            # It is at its end already.
            return
        logger.error("%s: the transport failed, its %s raised", self.name, what, exc_info=error)
        sink.failure = self._failure(what, error)
        self._tell_link(lambda link: link.abort())
        # Behind what the link has to say, where it does as it is told.
        self._loop.call_soon(sink.lost, None, Traffic())

    def _failure(self, what: str, error: BaseException) -> RxNodesError:
        if isinstance(error, ConnectError):
            # Without its traceback, which would keep the attempt.
            return copy(error)
        says = f"the transport failed, its {what} raised {type(error).__name__}: the log has more"
        if self._machine.phase is Phase.CONNECTING:
            return ConnectError(says, retryable=False)
        return ConnectionLost(says)

    def _set_timer(self, effect: SetTimer) -> None:
        self._cancel_timer()
        assert self._loop is not None
        self._timer = self._loop.call_later(effect.delay, self._on_timer, effect.timer)

    def _on_timer(self, timer: int) -> None:
        self._timer = None
        elapsed = partial(self._feed, Elapsed(timer))
        if self._link is None:
            elapsed()
        else:
            self._tell_link(lambda link: link.catch_up(elapsed))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_unsent(self, receipts: Collection[Receipt]) -> None:
        """These messages will never leave."""
        self._do_behind_messages(lambda: self.settle_sends(receipts, Unsent))

    def on_lost(self, input_: Lost) -> None:
        """The link of the current attempt is gone."""
        self._sink = self._link = self._preparing = None
        self.behind_messages(input_)

    def behind_messages(self, input_: Input) -> None:
        """Feeds what ends an attempt: where what it brought is still being delivered, behind that.

        So whoever answers a message does so while the connection is open, as it was when the message was sent.
        """
        self._do_behind_messages(lambda: self._feed(input_))

    def _do_behind_messages(self, act: Callable[[], None]) -> None:
        if self._outbox.is_put_off:
            self._outbox.post(_call, act)
        else:
            act()

    # Delivery

    def on_pong(self, round_trip: float) -> None:
        """The peer has answered a ping."""
        self._outbox.send(self._latency.emit, round_trip)

    def on_messages(self, messages: list[str] | list[bytes]) -> None:
        """Messages have come, all of one kind. This is the hot path."""
        if len(messages) <= LONGEST_RUN:
            self._outbox.send(self._deliver_read, messages)
            return
        for begin in range(0, len(messages), LONGEST_RUN):
            self._outbox.post(self._deliver_read, messages[begin : begin + LONGEST_RUN])
        self._outbox.flush()

    def _deliver_read(self, messages: list[str] | list[bytes]) -> None:
        """Delivers what came; a consumer that cannot keep up may close the valve meanwhile."""
        deliver(self._valve, self._deliver_messages, messages)

    def _replay(self, show: Callable[[], None]) -> None:
        """Shows a new subscriber what the last notification was: on the loop's thread, and as one that is delivered."""
        self.run_on_loop(lambda: self._outbox.within(show))

    def _on_valve(self, is_closed: bool) -> None:  # noqa: FBT001 - what a valve calls
        """A consumer wants no more for now, or all of them want more again."""
        self._tell_link(lambda link: link.pause_reading() if is_closed else link.resume_reading())

    def _deliver_messages(self, messages: list[str] | list[bytes]) -> None:
        """Delivers one message after the other to all: in one go where all go to one stream, as they are."""
        for is_binary, stream in self._batches.items():
            if stream.is_observed and (batch := self._in_form(messages, is_binary=is_binary)):
                stream.emit(batch)
        done = 0
        while done < len(messages) and self._views.observed:
            done += self._messages.emit_run(messages, done)
            done += (self._texts if isinstance(messages[0], str) else self._binaries).emit_run(messages, done)
            for message in messages[done : done + 1]:
                self._deliver_message(message)
                done += 1

    def _deliver_message(self, message: str | bytes) -> None:
        self._messages.emit(message)
        if self._texts.is_observed:
            text = message if isinstance(message, str) else self._decoded(message)
            if text is not None:
                self._texts.emit(text)
        if self._binaries.is_observed:
            self._binaries.emit(message if isinstance(message, bytes) else message.encode())

    def _in_form(self, messages: list[str] | list[bytes], *, is_binary: bool | None) -> list[str] | list[bytes]:
        if is_binary is None or is_binary is isinstance(messages[0], bytes):
            return messages
        if is_binary:
            return [message.encode() if isinstance(message, str) else message for message in messages]
        texts = (message if isinstance(message, str) else self._decoded(message) for message in messages)
        return [text for text in texts if text is not None]

    def _decoded(self, message: bytes) -> str | None:
        """The text of a binary message; `None`, and an `ErrorEvent`, where it has none."""
        try:
            return message.decode()
        except UnicodeDecodeError as error:
            reason = f"a binary message of {len(message)} bytes is not UTF-8: {error.reason} at byte {error.start}"
        self._feed(Reported("receive", DecodeError(reason)))
        return None

    def _read_messages(self, codec: Codec[Any]) -> Derived[Any]:
        def relay(message: str | bytes, emit: Callable[[Any], None]) -> None:
            for value in self._read(codec, (message,)):
                emit(value)

        return Derived(self._messages, relay)

    def _read_batches(self, codec: Codec[Any]) -> Derived[Any]:
        def relay(messages: list[str] | list[bytes], emit: Callable[[Any], None]) -> None:
            if values := self._read(codec, messages):
                emit(values)

        return Derived(cast("IsolatedSubject[Any]", self.batches(is_binary=None)), relay)

    def _read(self, codec: Codec[Any], messages: Iterable[str | bytes]) -> list[Any]:
        """The values of the messages that fit; each of the others is an `ErrorEvent`."""
        values: list[Any] = []
        for message in messages:
            try:
                values.append(decode(codec, message))
            except DecodeError as error:
                # It says where, and what the user's functions raised has a traceback of its own: ours would keep what
                # was read alive.
                self._feed(Reported("receive", error.with_traceback(None)))
        return values

    def _deliver(self, event: ConnectionState | LifecycleEvent) -> None:
        if isinstance(event, ConnectionState):
            self._states.emit(event)
            return
        self._delivering = event
        self._lifecycle.emit(event)
        if isinstance(event, Stopped):
            self._stopped.emit(event)
            self._settle(event)
        elif isinstance(event, Opened):
            self._last_opened = event
            self._opened.emit(event)
            self._answer(self._start_answer, self._open_waiters)
        elif isinstance(event, ErrorEvent):
            self._warn_where_nobody_listens(event)
            self._errors.emit(event)
        self._delivering = None

    def _warn_where_nobody_listens(self, event: ErrorEvent) -> None:
        """Errors are values; one that no subscriber sees would be seen by nobody."""
        is_seen = self._errors.is_observed or self._lifecycle.is_observed or event.phase == "handler"
        if not is_seen:
            logger.warning("%s: %s", self.name, event.message)

    def _settle(self, stopped: Stopped) -> None:
        """Every subscriber has seen `Stopped`: the session is over."""
        self._settled_session = stopped.session
        self._last_stopped = stopped
        self._settled.emit(stopped)
        self._answer(self._stop_answer, self._stop_waiters)
        self._answer(self._start_answer, self._open_waiters)
        self._delivering = None
        self._feed(Delivered())

    def on_handler_error(self, error: BaseException) -> None:
        """A subscriber raised. The connection goes on, and so do the others."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            # Meant for the program, not for us; raised here it would cut a delivery or a parser in half.
            self.run_on_loop(lambda: self._raise_soon(error))
            return
        logger.error("%s: a subscriber raised", self.name, exc_info=error)
        self._report_handler(f"a subscriber raised {text_of(error, with_type)}", error)

    def on_pipeline_error(self, error: Exception) -> None:
        """A pipeline has ended with an error while a notification was being delivered."""
        logger.error("%s: a pipeline ended with an error", self.name, exc_info=error)
        self._report_handler(f"a pipeline ended with {text_of(error, with_type)}", error)

    def _report_handler(self, what: str, error: BaseException) -> None:
        if self._loop is None or isinstance(self._delivering, ErrorEvent | Stopped):
            return
        report = HandlerError(what)
        report.__cause__ = error
        self.run_on_loop(lambda: self._feed(Reported("handler", report)))

    def _raise_soon(self, error: BaseException) -> None:
        def reraise() -> None:
            raise error

        assert self._loop is not None
        self._loop.call_soon(reraise)


class _AttemptSink:
    """What an attempt's link calls: it puts the attempt's numbers on what the link says.

    Attributes:
        failure: How the transport failed, where it did: whatever else it says, that is why the attempt ended.
        stranded: The messages of which the transport may never tell what became of them, since it failed.
    """

    __slots__ = ("_attempt", "_connection", "_feed", "_is_over", "_session", "failure", "messages", "stranded")

    def __init__(self, connection: Connection, session: int, attempt: int) -> None:
        self._connection = connection
        self._feed = connection._feed  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self._session = session
        self._attempt = attempt
        self._is_over = False
        self.messages = connection.on_messages
        self.failure: RxNodesError | None = None
        self.stranded: tuple[Receipt, ...] = ()

    def opened(self, subprotocol: str | None) -> None:
        self._feed(HandshakeDone(self._session, self._attempt, subprotocol))

    def sent(self, receipts: Collection[Receipt], /) -> None:
        self._connection.settle_sends(receipts, Sent)

    def unsent(self, receipts: Collection[Receipt], /) -> None:
        self._connection.on_unsent(receipts)

    def overflowed(self, receipts: Collection[Receipt], /) -> None:
        self._connection.on_overflow(receipts)

    def close_received(self, code: int, reason: str, *, tcp_ended: bool = False) -> None:
        self._connection.behind_messages(CloseReceived(self._session, self._attempt, code, reason, tcp_ended))

    def close_sent(self) -> None:
        self._feed(CloseSent(self._session, self._attempt))

    def ponged(self, round_trip: float) -> None:
        if not self._is_over:
            self._connection.on_pong(round_trip)

    def violated(self, error: ProtocolError) -> None:
        self._connection.behind_messages(Violated(self._session, self._attempt, error))

    def lost(self, error: RxNodesError | None, traffic: Traffic) -> None:
        if self._is_over:
            # A transport that failed may say so late.
            return
        self._is_over = True
        self.messages = _ignore
        stranded = [receipt for receipt in self.stranded if receipt.fate is None]
        if stranded:
            self._connection.settle_sends(stranded, Unsent)
            traffic = traffic.plus(Traffic(unsent=len(stranded)))
        self._connection.on_lost(Lost(self._session, self._attempt, self.failure or error, traffic))


def _ignore(messages: list[str] | list[bytes]) -> None:
    """What comes of an attempt that is over."""


def _check_link(link: Link) -> Link:
    """Refuses what could not even be told to end, such as a coroutine of a transport whose `dial` is one.

    Raises:
        TypeError: If it is no link.
    """
    if not hasattr(link, "abort"):
        raise TypeError(f"dial gave {_type_name(link)}, not a link")
    return link


def inherited(what: str) -> RxNodesError:
    """The error for those who use in a forked process what its parent has opened."""
    return RxNodesError(
        f"{what} was opened by the process that this one was forked from, and can be used by that one only;"
        " open a project of its own here"
    )


def check_connection(value: object) -> None:
    """Refuses what is given to a node, or to a scene, in place of a connection.

    Raises:
        TypeError: If it is no connection.
    """
    if not isinstance(value, Connection):
        raise TypeError(
            f'what is wanted here is a connection, such as project.websocket("chat"), not {_type_name(value)}'
        )


def to_payload(message: object, *, is_binary: bool | None) -> tuple[bytes, bool]:
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
        return bytes(cast("bytearray", message)), False
    wanted = "str" if is_binary is False else "str or bytes"
    hint = "is_binary=True sends bytes" if isinstance(message, bytes | bytearray) else 'codec="json" sends values'
    raise TypeError(f"a message must be {wanted}, not {_type_name(message)}; {hint}")  # pyright: ignore[reportUnknownArgumentType]


def _call(act: Callable[[], None]) -> None:
    act()


def _type_name(value: object) -> str:
    return type(value).__name__


def _resolve(future: asyncio.Future[T], answer: T | RxNodesError) -> None:
    if future.done():
        return
    if isinstance(answer, RxNodesError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _never_opened(stopped: Stopped) -> ConnectError:
    """The error for those who wait for a session to open that has ended."""
    error = stopped.error
    if isinstance(error, ConnectError):
        return ConnectError(str(error), status=error.status, retryable=error.retryable)
    return ConnectError(f"{stopped.connection!r} stopped before it was open")
