"""The machine: every transition of a connection's life, in one table.

This file is longer than others on purpose. To learn why a connection did something, one reads a row of the table, its
guard and its actions, and nothing else. So the three stay together.

Rule 1: everything that decides about a connection's life is in this file. The table says which input leads from which
phase to which. The actions say which effects and events follow. Nothing here knows a clock, a socket or a task.

Rule 2: the table alone answers inputs. A command that the table does not list for a phase does nothing there. An input
is dropped, by `is_stale`, if it comes from an attempt, a login or a timer that is no longer the current one. Any other
input that is not listed is a bug of the shell or the transport: `step` raises, and the state stays as it was.

Rule 3: an attempt has a link from `Dial` until `Lost`, and a session ends only when it has no link. A login is part of
the link.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from rxnodes.errors import CloseTimeout, ConnectError, ConnectionLost, printable
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped, Traffic
from rxnodes.lifecycle.inputs import (
    Abort,
    AbortLink,
    BeginLogin,
    CancelLogin,
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
    LinkInput,
    LoginDone,
    LoginFailed,
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
from rxnodes.lifecycle.policy import Policy
from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.events import ErrorPhase, LifecycleEvent

__all__ = [
    "OPENING",
    "TABLE",
    "MachineError",
    "Phase",
    "Profile",
    "State",
    "Step",
    "Transition",
    "closed_during_login",
    "step",
]


NO_TRAFFIC = Traffic()


class MachineError(Exception):
    """An input came that cannot come in this phase: a bug in the caller."""


class Phase(Enum):
    """Where a connection stands. Users see only the phase's `ConnectionState`, which is coarser."""

    IDLE = ConnectionState.IDLE, "never started"
    CONNECTING = ConnectionState.CONNECTING, "an attempt's link is being dialled"
    GREETING = ConnectionState.CONNECTING, "the link is open; after_connect is logging in"
    DISMISSED = ConnectionState.CONNECTING, "the peer closed during the login, which may still take what came before"
    OPEN = ConnectionState.OPEN, "the link is open"
    DROPPING = ConnectionState.RECONNECTING, "the attempt was closed; its link is ending, another attempt will follow"
    RECONNECTING = ConnectionState.RECONNECTING, "no link; waiting for the next attempt"
    CLOSING = ConnectionState.CLOSING, "the session is ending, and with it its link, if it has one"
    STOPPED = ConnectionState.CLOSED, "Stopped is being delivered"
    CLOSED = ConnectionState.CLOSED, "every subscriber has seen Stopped"

    def __init__(self, state: ConnectionState, meaning: str) -> None:
        self.state = state
        self.meaning = meaning

    # Every step looks up a phase in `INDEX`, and Enum's own hash, in Python, is slow.
    __hash__ = object.__hash__


# A step uses these names, because `Phase.IDLE` takes 0.4 µs on Python 3.11.
IDLE, CONNECTING, GREETING, DISMISSED, OPEN, DROPPING, RECONNECTING, CLOSING, STOPPED, CLOSED = Phase
LOCAL, REMOTE, NETWORK, TIMEOUT = Initiator

NOT_LIVE = (IDLE, STOPPED, CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the machine knows of the configuration: the connection's name, its redacted URL, and its policy.

    Attributes:
        logs_in: Whether an attempt logs in, by `after_connect`, before it counts as open.
    """

    name: str
    url: str
    policy: Policy = field(default_factory=Policy)
    logs_in: bool = False


@dataclass(slots=True)
class State:
    """Everything the machine remembers. Times are readings of `Now.monotonic`.

    A step changes its own copy only. The class is not frozen, because a frozen one takes six times as long to change,
    and longer to copy.
    """

    profile: Profile
    phase: Phase = IDLE
    is_shut_down: bool = False
    restart: bool = False
    timer: int = 0
    failed_sessions: int = 0
    not_before: float = 0.0

    # of the session
    session: int = 0
    attempt: int = 0
    started_at: float = 0.0
    has_opened: bool = False
    failures: int = 0
    traffic: Traffic = NO_TRAFFIC

    # of the attempt
    has_link: bool = False
    dialled_at: float = 0.0
    handshake: HandshakeDone | None = None
    opened_at: float | None = None

    # of its end
    initiator: Initiator = NETWORK
    deadline: float = 0.0
    close_received: CloseReceived | None = None
    close_sent: bool = False
    violated: bool = False
    was_stopped: bool = False
    cut_short: bool = False
    error: RxNodesError | None = None
    announced: bool = False

    @property
    def is_live(self) -> bool:
        """Whether a session is under way."""
        return self.phase not in NOT_LIVE

    @property
    def was_clean(self) -> bool:
        """Whether both Close frames were exchanged (RFC 6455 section 7.1.4). After a violation none counts."""
        return self.close_received is not None and self.close_sent and not self.violated

    @property
    def close_code(self) -> int:
        """The peer's close code, or 1006 if no Close frame of the peer counts (RFC 6455 section 7.1.5)."""
        if self.close_received is None or self.violated:
            return int(CloseCode.ABNORMAL_CLOSURE)
        return self.close_received.code

    @property
    def close_reason(self) -> str:
        """The peer's reason (RFC 6455 section 7.1.6)."""
        return "" if self.close_received is None or self.violated else self.close_received.reason

    def copy(self) -> State:
        """A copy for one step. `dataclasses.replace` takes six times as long."""
        return State(*_values_of(self))


#: The values of a state, in the order in which its constructor takes them.
_values_of: Callable[[State], tuple[Any, ...]] = attrgetter(*State.__slots__)


class Step(NamedTuple):
    """What an input leads to: the new state, then the effects and the events, each in order."""

    state: State
    effects: Sequence[Effect] = ()
    events: Sequence[ConnectionState | LifecycleEvent] = ()


class Draft:
    """A step in the making. The actions of a row change it one after the other."""

    __slots__ = ("effects", "events", "input", "now", "state")

    def __init__(self, state: State, input_: Input, now: Now) -> None:
        self.state = state.copy()
        self.input = input_
        self.now = now
        self.effects: list[Effect] = []
        self.events: list[ConnectionState | LifecycleEvent] = []

    def enter(self, phase: Phase) -> None:
        if phase.state is not self.state.phase.state:
            self.events.append(phase.state)
        self.state.phase = phase

    def set_timer(self, delay: float) -> None:
        self.state.timer += 1
        self.effects.append(SetTimer(self.state.timer, delay))

    def cancel_timer(self) -> None:
        self.spend_timer()
        self.effects.append(CancelTimer())

    def spend_timer(self) -> None:
        """Makes the number of the current timer an old one, so that its `Elapsed` no longer counts."""
        self.state.timer += 1

    def emit(self, kind: Callable[..., LifecycleEvent], **fields: Any) -> None:
        """Emits a lifecycle event of the current attempt. `fields` are those that not all events have."""
        state = self.state
        numbers = {"session": state.session, "attempt": state.attempt}
        self.events.append(kind(connection=state.profile.name, at=self.now.at, **(numbers | fields)))

    def announce(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Reports why the attempt ends. Later actions see that its end has been announced, and do not repeat it."""
        self.state.error = error
        self.state.announced = True
        self.report(phase, error)

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        outside = {} if self.state.is_live else {"session": 0, "attempt": 0}
        self.emit(ErrorEvent, phase=phase, message=str(error), error=error, **outside)


# Actions. They run in the row's source phase. `step` enters the target after them, unless an action did so already.


def begin_session(draft: Draft) -> None:
    """A new session begins. It takes over the numbers of the ones before, and from when it may dial."""
    before = draft.state
    draft.state = State(
        profile=before.profile,
        phase=before.phase,
        timer=before.timer,
        failed_sessions=before.failed_sessions,
        not_before=before.not_before,
        session=before.session + 1,
        started_at=draft.now.monotonic,
    )


def dial(draft: Draft) -> None:
    """The next attempt begins."""
    draft.enter(CONNECTING)
    state = draft.state
    last_error = state.error
    state.attempt += 1
    state.has_link = True
    state.dialled_at = draft.now.monotonic
    state.opened_at = None
    state.initiator = NETWORK
    state.close_received = None
    state.close_sent = False
    state.violated = False
    state.error = None
    state.announced = False
    delay = max(0.0, state.not_before - draft.now.monotonic)
    draft.effects.append(Dial(state.session, state.attempt, last_error, delay))
    if state.profile.policy.connect_timeout is not None:
        draft.set_timer(delay + state.profile.policy.connect_timeout)
    draft.emit(Connecting, url=state.profile.url)


def note_handshake(draft: Draft) -> None:
    """The handshake's answer is kept for `Opened`."""
    assert isinstance(draft.input, HandshakeDone)
    draft.state.handshake = draft.input


def begin_login(draft: Draft) -> None:
    """`after_connect` begins to log in. `connect_timeout` goes on, because the attempt is not open yet."""
    assert draft.state.handshake is not None
    draft.effects.append(BeginLogin(draft.state.handshake))


def cancel_login(draft: Draft) -> None:
    """The login is cancelled, because the attempt will not open any more."""
    draft.effects.append(CancelLogin())


def in_time(draft: Draft) -> None:
    """The attempt has opened within `connect_timeout`."""
    draft.cancel_timer()


def open_(draft: Draft) -> None:
    """The attempt is open."""
    draft.enter(OPEN)
    state = draft.state
    assert state.handshake is not None
    is_reconnect = state.has_opened
    state.has_opened = True
    state.opened_at = draft.now.monotonic
    draft.emit(
        Opened,
        subprotocol=state.handshake.subprotocol,
        elapsed=draft.now.monotonic - state.dialled_at,
        is_reconnect=is_reconnect,
        headers=state.handshake.headers,
    )
    # Nobody needs the headers any more, and they may be large.
    state.handshake = None


def postpone_timeout(draft: Draft) -> None:
    """The dial begins later, because its preparation waits, and `connect_timeout` begins with it."""
    assert isinstance(draft.input, Postponed)
    timeout = draft.state.profile.policy.connect_timeout
    if timeout is not None:
        draft.set_timer(draft.input.delay + timeout)


def give_up_dial(draft: Draft) -> None:
    """The attempt took too long to open. Its link is aborted, and the `Lost` that follows decides what comes next.

    If the link takes too long to end as well, it is aborted once more.
    """
    timeout = draft.state.profile.policy.connect_timeout
    draft.state.error = ConnectError(f"no open connection within connect_timeout ({timeout:g} s)")
    draft.effects.append(AbortLink())


def fail_login(draft: Draft) -> None:
    """The login has failed, or took too long, or the peer closed before it was done."""
    draft.announce("connect", _why_login_failed(draft.state, draft.input))


def _why_login_failed(state: State, input_: Input) -> ConnectError:
    """The hook's own error if it gave up or the peer did not close; or else the peer's Close, or the timeout."""
    error = input_.error if isinstance(input_, LoginFailed | Lost) else None
    closed = state.close_received
    if isinstance(error, ConnectError) and (closed is None or not error.retryable):
        return error
    if closed is not None:
        return closed_during_login(closed.code, closed.reason)
    timeout = state.profile.policy.connect_timeout
    return ConnectError(f"after_connect was not done within connect_timeout ({timeout:g} s)")


def closed_during_login(code: int, reason: str) -> ConnectError:
    """The error of a login during which the peer closed."""
    says = f"the peer closed during the login: {code} {printable(reason)}".rstrip()
    return ConnectError(says, code=code, reason=reason)


def by_us(draft: Draft) -> None:
    """We end the session."""
    draft.state.initiator = LOCAL


def by_peer(draft: Draft) -> None:
    """The peer ends the session, or the attempt."""
    draft.state.initiator = REMOTE


def announce_closing(draft: Draft) -> None:
    """The session has begun to end."""
    draft.enter(CLOSING)
    draft.state.was_stopped = isinstance(draft.input, COMMANDS)
    draft.emit(Closing, initiator=draft.state.initiator)


def cut_short(draft: Draft) -> None:
    """The user wants no closing handshake, so an end that is not clean is no error."""
    draft.state.cut_short = True


def start_deadline(draft: Draft) -> None:
    """From now on the link has `close_timeout` to end."""
    timeout = draft.state.profile.policy.close_timeout
    draft.state.deadline = draft.now.monotonic + timeout
    draft.set_timer(timeout)


def keep_deadline(draft: Draft) -> None:
    """A login that does not end at once has the rest of `close_timeout` to do so."""
    draft.set_timer(max(0.0, draft.state.deadline - draft.now.monotonic))


def send_close(draft: Draft) -> None:
    """Our Close frame goes out after all that was sent (RFC 6455 section 7.1.2)."""
    stop = draft.input if isinstance(draft.input, Stop) else Stop()
    draft.effects.append(SendClose(stop.code, stop.reason))


def abort_link(draft: Draft) -> None:
    """The link is ended without a closing handshake."""
    draft.effects.append(AbortLink())


def conclude_soon(draft: Draft) -> None:
    """The session has no link, so it ends in the loop's next turn, and never within `stop()` itself."""
    draft.set_timer(0.0)


def answer_close(draft: Draft) -> None:
    """The peer's Close frame is answered at once, with the same code (RFC 6455 section 5.5.1)."""
    assert isinstance(draft.input, CloseReceived)
    draft.state.close_received = draft.input
    draft.effects.append(CloseNow(draft.input.code, ""))


def note_close_sent(draft: Draft) -> None:
    """Our Close frame has left."""
    draft.state.close_sent = True


def linger(draft: Draft) -> None:
    """After both Close frames, the peer has a moment in which it may end TCP first (RFC 6455 section 7.1.1)."""
    has_ended = isinstance(draft.input, CloseReceived) and draft.input.tcp_ended
    if draft.state.was_clean and not has_ended:
        remaining = draft.state.deadline - draft.now.monotonic
        draft.set_timer(max(0.0, min(remaining, draft.state.profile.policy.linger)))


def refuse_violation(draft: Draft) -> None:
    """The peer's violation is reported, and answered with its code (RFC 6455 section 7.1.7)."""
    assert isinstance(draft.input, Violated)
    draft.announce("receive", draft.input.error)
    draft.state.violated = True
    draft.state.initiator = LOCAL
    draft.effects.append(CloseNow(draft.input.error.code, ""))


def time_out(draft: Draft) -> None:
    """The deadline has passed. The link is aborted, and a closing handshake that is not done is an error."""
    state = draft.state
    if not (state.was_clean or state.announced or state.cut_short):
        timeout = state.profile.policy.close_timeout
        if state.close_received is None:
            state.initiator = TIMEOUT
        draft.announce("close", CloseTimeout(f"the closing was not done within close_timeout ({timeout:g} s)"))
    draft.effects.append(AbortLink())


def release_link(draft: Draft) -> None:
    """The link is gone. Its traffic is added to the session's."""
    assert isinstance(draft.input, Lost)
    state = draft.state
    draft.cancel_timer()
    state.has_link = False
    state.traffic = state.traffic.plus(draft.input.traffic)
    state.failures = next_failure(state, draft.now)


def report_loss(draft: Draft) -> None:
    """An end that is not clean is announced, once, unless the user asked for it."""
    assert isinstance(draft.input, Lost)
    state = draft.state
    if state.was_clean or state.announced or state.cut_short:
        return
    if state.close_received is not None and not state.close_sent:
        # Our Close frame never left, so the peer has ended it, even if we had wanted to.
        state.initiator = REMOTE
    state.error = why_ended(state, draft.input) or _unexplained(state.phase)
    draft.report(PHASE_OF_LOSS[state.phase], state.error)


def _unexplained(phase: Phase) -> RxNodesError:
    if phase.state is ConnectionState.CONNECTING:
        return ConnectError("the dial ended without a connection")
    return ConnectionLost("the connection ended without a closing handshake")


def announce_drop(draft: Draft) -> None:
    """The attempt is over; the next one comes after the announced delay."""
    draft.enter(RECONNECTING)
    state = draft.state
    policy = state.profile.policy.reconnect
    retry_in = max(policy.delay(state.failures, draft.now.chance), policy.least_delay(state.error))
    draft.set_timer(retry_in)
    draft.emit(Dropped, code=state.close_code, reason=state.close_reason, was_clean=state.was_clean, retry_in=retry_in)


def conclude(draft: Draft) -> None:
    """The session is over."""
    draft.enter(STOPPED)
    hold_back_restart(draft)
    state = draft.state
    draft.emit(
        Stopped,
        code=state.close_code,
        reason=state.close_reason,
        was_clean=state.was_clean,
        initiator=state.initiator,
        opened=state.has_opened,
        duration=draft.now.monotonic - state.started_at,
        attempts=state.attempt,
        error=state.error,
        **state.traffic._asdict(),
    )


def hold_back_restart(draft: Draft) -> None:
    """If sessions fail one after the other, each is restarted after a longer delay, however it is started.

    The first restart is at once, unless the server asks for a delay. The restarts after it have the delays of retries.
    """
    state, now = draft.state, draft.now
    policy = state.profile.policy.reconnect
    has_failed = not (state.was_stopped or is_stable(state, now))
    state.failed_sessions = state.failed_sessions + 1 if has_failed else 0
    restarts_before = state.failed_sessions - 1
    delay = policy.delay(restarts_before, now.chance) if restarts_before > 0 else 0.0
    state.not_before = now.monotonic + max(delay, policy.least_delay(state.error))


def forget_attempt(draft: Draft) -> None:
    """A stop ends the session, so `Stopped` gets neither the close code nor the error of the last attempt."""
    draft.state.close_received = None
    draft.state.error = None


def restart(draft: Draft) -> None:
    """Another session follows this one."""
    draft.state.restart = True


def no_restart(draft: Draft) -> None:
    """No session follows this one."""
    draft.state.restart = False


def shut_down(draft: Draft) -> None:
    """No session follows this one, nor is any started later."""
    draft.state.restart = False
    draft.state.is_shut_down = True


def count_unsent(draft: Draft) -> None:
    """Messages that waited for the connection to open were given up."""
    assert isinstance(draft.input, Discarded)
    draft.state.traffic = draft.state.traffic.plus(Traffic(unsent=draft.input.count))


def report(draft: Draft) -> None:
    """Something went wrong that changes no state."""
    assert isinstance(draft.input, Reported)
    draft.report(draft.input.phase, draft.input.error)


# Guards


def may_start(state: State, _input: Input, _now: Now) -> bool:
    """The project is not being left."""
    return not state.is_shut_down


def will_restart(state: State, _input: Input, _now: Now) -> bool:
    """A start came while the session was ending."""
    return state.restart


def has_no_link(state: State, _input: Input, _now: Now) -> bool:
    """The session has no link whose end it would have to wait for."""
    return not state.has_link


def logs_in(state: State, _input: Input, _now: Now) -> bool:
    """There is an `after_connect`."""
    return state.profile.logs_in


def will_retry(state: State, input_: Input, now: Now) -> bool:
    """Reconnection is on, trying again can help, and the attempts are not used up."""
    policy = state.profile.policy.reconnect
    if not policy.enabled:
        return False
    if policy.max_attempts is not None and next_failure(state, now) >= policy.max_attempts:
        return False
    closed = input_ if isinstance(input_, CloseReceived) else state.close_received
    if closed is not None and closed.code in policy.final_codes:
        return False
    return not (isinstance(input_, Lost | LoginFailed) and policy.is_final(why_ended(state, input_)))


def next_failure(state: State, now: Now) -> int:
    """How many attempts in a row have failed if this one ends now. The count begins again after a stable attempt."""
    return 1 if is_stable(state, now) else state.failures + 1


def is_stable(state: State, now: Now) -> bool:
    """Whether the attempt has been open for `reset_after`, so that its end counts as a first failure."""
    reset_after = state.profile.policy.reconnect.reset_after
    return state.opened_at is not None and now.monotonic - state.opened_at >= reset_after


def why_ended(state: State, end: Lost | LoginFailed) -> RxNodesError | None:
    """Why the attempt ended: the server's answer if there was one, even if we had given up before; or our own error."""
    has_answered = isinstance(end.error, ConnectError) and end.error.status is not None
    return end.error if has_answered else state.error or end.error


PHASE_OF_LOSS: Mapping[Phase, ErrorPhase] = {
    Phase.CONNECTING: "connect",
    Phase.GREETING: "connect",
    Phase.OPEN: "receive",
    Phase.DROPPING: "close",
    Phase.CLOSING: "close",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the table: in the phase `source`, on this input, run the actions and go to the phase `target`.

    Several rows may be for one phase and input. The first one counts whose guard `when` holds.
    """

    source: Phase
    on: type[Input]
    target: Phase
    actions: tuple[Callable[[Draft], None], ...] = ()
    when: Callable[[State, Input, Now], bool] | None = None


P = Phase
T = Transition

#: The phases in which a login is under way.
LOGGING_IN = (P.GREETING, P.DISMISSED)
#: The phases in which a message may wait for the connection to open.
OPENING = (P.CONNECTING, *LOGGING_IN, P.DROPPING, P.RECONNECTING)

TABLE: tuple[Transition, ...] = (
    # Never started
    T(P.IDLE, Start, P.CONNECTING, (begin_session, dial), may_start),
    T(P.IDLE, Shutdown, P.IDLE, (shut_down,)),
    # An attempt is being dialled
    T(P.CONNECTING, Postponed, P.CONNECTING, (postpone_timeout,)),
    T(P.CONNECTING, HandshakeDone, P.GREETING, (note_handshake, begin_login), logs_in),
    T(P.CONNECTING, HandshakeDone, P.OPEN, (note_handshake, in_time, open_)),
    T(P.CONNECTING, Elapsed, P.CONNECTING, (give_up_dial, start_deadline)),
    T(P.CONNECTING, Lost, P.RECONNECTING, (release_link, report_loss, announce_drop), will_retry),
    T(P.CONNECTING, Lost, P.STOPPED, (release_link, report_loss, conclude)),
    T(P.CONNECTING, Stop, P.CLOSING, (by_us, forget_attempt, announce_closing, cut_short, start_deadline, abort_link)),
    T(P.CONNECTING, Abort, P.CLOSING, (by_us, forget_attempt, announce_closing, cut_short, start_deadline, abort_link)),
    T(
        P.CONNECTING,
        Shutdown,
        P.CLOSING,
        (shut_down, by_us, forget_attempt, announce_closing, cut_short, start_deadline, abort_link),
    ),
    # The handshake is done, and after_connect logs in
    T(P.GREETING, LoginDone, P.OPEN, (in_time, open_)),
    T(P.GREETING, LoginFailed, P.DROPPING, (by_us, fail_login, send_close, start_deadline), will_retry),
    T(P.GREETING, LoginFailed, P.CLOSING, (by_us, fail_login, announce_closing, send_close, start_deadline)),
    T(P.GREETING, Elapsed, P.DROPPING, (by_us, fail_login, cancel_login, send_close, start_deadline), will_retry),
    T(P.GREETING, Elapsed, P.CLOSING, (by_us, fail_login, announce_closing, cancel_login, send_close, start_deadline)),
    T(P.GREETING, CloseReceived, P.DISMISSED, (by_peer, answer_close, start_deadline)),
    T(P.GREETING, Violated, P.CLOSING, (refuse_violation, announce_closing, cancel_login, start_deadline)),
    T(P.GREETING, Lost, P.RECONNECTING, (release_link, report_loss, announce_drop), will_retry),
    T(P.GREETING, Lost, P.STOPPED, (release_link, report_loss, conclude)),
    T(P.GREETING, Stop, P.CLOSING, (by_us, announce_closing, cancel_login, send_close, start_deadline)),
    T(P.GREETING, Abort, P.CLOSING, (by_us, announce_closing, cut_short, start_deadline, abort_link)),
    T(P.GREETING, Shutdown, P.CLOSING, (shut_down, by_us, announce_closing, cancel_login, send_close, start_deadline)),
    # The peer has closed meanwhile, and the login may still take what came before
    T(P.DISMISSED, CloseSent, P.DISMISSED, (note_close_sent, linger)),
    T(P.DISMISSED, LoginDone, P.DROPPING, (open_,), will_retry),
    T(P.DISMISSED, LoginDone, P.CLOSING, (open_, announce_closing)),
    T(P.DISMISSED, LoginFailed, P.DROPPING, (fail_login,), will_retry),
    T(P.DISMISSED, LoginFailed, P.CLOSING, (fail_login, announce_closing)),
    T(P.DISMISSED, Elapsed, P.DROPPING, (fail_login, abort_link, keep_deadline), will_retry),
    T(P.DISMISSED, Elapsed, P.CLOSING, (fail_login, announce_closing, abort_link, keep_deadline)),
    T(P.DISMISSED, Lost, P.RECONNECTING, (fail_login, release_link, announce_drop), will_retry),
    T(P.DISMISSED, Lost, P.STOPPED, (fail_login, announce_closing, release_link, conclude)),
    T(P.DISMISSED, Stop, P.CLOSING, (announce_closing, cancel_login)),
    T(P.DISMISSED, Abort, P.CLOSING, (announce_closing, cut_short, abort_link)),
    T(P.DISMISSED, Shutdown, P.CLOSING, (shut_down, announce_closing, cancel_login)),
    # Open
    T(P.OPEN, CloseReceived, P.DROPPING, (by_peer, answer_close, start_deadline), will_retry),
    T(P.OPEN, CloseReceived, P.CLOSING, (by_peer, announce_closing, answer_close, start_deadline)),
    T(P.OPEN, Violated, P.CLOSING, (refuse_violation, announce_closing, start_deadline)),
    T(P.OPEN, Lost, P.RECONNECTING, (release_link, report_loss, announce_drop), will_retry),
    T(P.OPEN, Lost, P.STOPPED, (release_link, report_loss, conclude)),
    T(P.OPEN, Stop, P.CLOSING, (by_us, announce_closing, send_close, start_deadline)),
    T(P.OPEN, Abort, P.CLOSING, (by_us, announce_closing, cut_short, start_deadline, abort_link)),
    T(P.OPEN, Shutdown, P.CLOSING, (shut_down, by_us, announce_closing, send_close, start_deadline)),
    # The attempt was closed, by the peer or because its login failed, and another one will follow
    T(P.DROPPING, CloseReceived, P.DROPPING, (answer_close, linger)),
    T(P.DROPPING, Violated, P.DROPPING, (refuse_violation,)),
    T(P.DROPPING, CloseSent, P.DROPPING, (note_close_sent, linger)),
    T(P.DROPPING, Elapsed, P.DROPPING, (time_out,)),
    T(P.DROPPING, Lost, P.RECONNECTING, (release_link, report_loss, announce_drop)),
    T(P.DROPPING, Stop, P.CLOSING, (announce_closing,)),
    T(P.DROPPING, Abort, P.CLOSING, (announce_closing, cut_short, abort_link)),
    T(P.DROPPING, Shutdown, P.CLOSING, (shut_down, announce_closing)),
    # Waiting for the next attempt
    T(P.RECONNECTING, Elapsed, P.CONNECTING, (dial,)),
    T(P.RECONNECTING, Stop, P.CLOSING, (by_us, forget_attempt, announce_closing, conclude_soon)),
    T(P.RECONNECTING, Abort, P.CLOSING, (by_us, forget_attempt, announce_closing, conclude_soon)),
    T(P.RECONNECTING, Shutdown, P.CLOSING, (shut_down, by_us, forget_attempt, announce_closing, conclude_soon)),
    # The session is ending
    T(P.CLOSING, CloseReceived, P.CLOSING, (answer_close, linger)),
    T(P.CLOSING, CloseSent, P.CLOSING, (note_close_sent, linger)),
    T(P.CLOSING, Violated, P.CLOSING, (refuse_violation,)),
    T(P.CLOSING, Elapsed, P.STOPPED, (conclude,), has_no_link),
    T(P.CLOSING, Elapsed, P.CLOSING, (time_out,)),
    T(P.CLOSING, Lost, P.STOPPED, (release_link, report_loss, conclude)),
    T(P.CLOSING, Start, P.CLOSING, (restart,), may_start),
    T(P.CLOSING, Stop, P.CLOSING, (no_restart,)),
    T(P.CLOSING, Abort, P.CLOSING, (no_restart, cut_short, abort_link)),
    T(P.CLOSING, Shutdown, P.CLOSING, (shut_down,)),
    # Stopped is being delivered
    T(P.STOPPED, Delivered, P.CONNECTING, (begin_session, dial), will_restart),
    T(P.STOPPED, Delivered, P.CLOSED),
    T(P.STOPPED, Start, P.STOPPED, (restart,), may_start),
    T(P.STOPPED, Stop, P.STOPPED, (no_restart,)),
    T(P.STOPPED, Abort, P.STOPPED, (no_restart,)),
    T(P.STOPPED, Shutdown, P.STOPPED, (shut_down,)),
    # Over
    T(P.CLOSED, Start, P.CONNECTING, (begin_session, dial), may_start),
    T(P.CLOSED, Shutdown, P.CLOSED, (shut_down,)),
    # Messages that waited for the connection to open are given up
    *(T(phase, Discarded, phase, (count_unsent,)) for phase in (*OPENING, P.OPEN)),
    # Anywhere
    *(T(phase, Reported, phase, (report,)) for phase in P),
)

COMMANDS = (Start, Stop, Abort, Shutdown)


def index(table: Iterable[Transition]) -> Mapping[tuple[Phase, type[Input]], Sequence[Transition]]:
    """The rows of each phase and input, in the table's order."""
    rows: defaultdict[tuple[Phase, type[Input]], list[Transition]] = defaultdict(list)
    for row in table:
        rows[row.source, row.on].append(row)
    return dict(rows)


INDEX = index(TABLE)


def is_stale(state: State, input_: Input) -> bool:
    """Whether the input comes from an attempt, a login or a timer that is no longer the current one."""
    if isinstance(input_, LinkInput):
        is_late = state.phase not in LOGGING_IN and isinstance(input_, LoginDone | LoginFailed)
        return is_late or not state.has_link or input_.attempt != state.attempt or input_.session != state.session
    return isinstance(input_, Elapsed) and input_.timer != state.timer


def step(
    state: State,
    input_: Input,
    now: Now,
    rows: Mapping[tuple[Phase, type[Input]], Sequence[Transition]] = INDEX,
) -> Step:
    """Works out what an input leads to.

    Args:
        state: Where the connection stands.
        input_: What has happened.
        now: The time, and a random number.
        rows: The table, indexed. Only tests give another one.

    Returns:
        The new state, with effects and events in order.

    Raises:
        MachineError: If the input cannot come in this phase.
    """
    if is_stale(state, input_):
        return Step(state)
    for row in rows.get((state.phase, type(input_)), ()):
        if row.when is None or row.when(state, input_, now):
            draft = Draft(state, input_, now)
            if isinstance(input_, Elapsed):
                draft.spend_timer()
            for action in row.actions:
                action(draft)
            draft.enter(row.target)
            return Step(draft.state, draft.effects, draft.events)
    if isinstance(input_, COMMANDS):
        return Step(state)
    raise MachineError(f"{type(input_).__name__} cannot come while {state.phase.name}")
