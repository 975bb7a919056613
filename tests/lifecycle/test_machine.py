"""Each row of the table, in the words of the design."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from multidict import CIMultiDict
from promises import Journal

from rxnodes.errors import CloseTimeout, ConnectError, ConnectionLost, ProtocolError, SendError
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped, Traffic
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
from rxnodes.lifecycle.machine import INDEX, OPENING, MachineError, Phase, Profile, State, step
from rxnodes.lifecycle.policy import Policy, Ranges, ReconnectPolicy
from rxnodes.lifecycle.states import ConnectionState, Initiator

RETRYING = ReconnectPolicy(enabled=True, initial_delay=2.0, factor=3.0, max_delay=10.0, reset_after=100.0)


class Machine:
    """The machine with a clock that a test turns, and a journal that holds the promises."""

    rows = INDEX

    def __init__(self, *, reconnect: ReconnectPolicy | None = None, connect_timeout: float | None = 5.0) -> None:
        policy = Policy(
            connect_timeout=connect_timeout, close_timeout=4.0, linger=1.0, reconnect=reconnect or ReconnectPolicy()
        )
        self.state = State(profile=Profile(name="chat", url="ws://test/", policy=policy))
        self.journal = Journal()
        self.time = 0.0
        self.chance = 0.5
        self.effects: list[Effect] = []
        self.events: list[ConnectionState | LifecycleEvent] = []

    def __call__(self, input_: Input) -> None:
        now = Now(datetime.fromtimestamp(self.time, UTC), self.time, self.chance)
        before = self.state.copy()
        done = step(self.state, input_, now, self.rows)
        assert self.state == before, "a step works on a copy of its own"
        self.state = done.state
        self.effects = list(done.effects)
        self.events = list(done.events)
        for event in done.events:
            if isinstance(event, ConnectionState):
                self.journal.state(event)
            else:
                self.journal.event(event)

    @property
    def numbers(self) -> tuple[int, int]:
        return self.state.session, self.state.attempt

    @property
    def timer(self) -> float | None:
        """The delay that the last step set, if it set one."""
        delays = [effect.delay for effect in self.effects if isinstance(effect, SetTimer)]
        return delays[-1] if delays else None

    def kinds(self) -> list[str]:
        return [event.name if isinstance(event, ConnectionState) else type(event).__name__ for event in self.events]

    def handshake_done(self, subprotocol: str | None = None, headers: CIMultiDict[str] | None = None) -> None:
        self(HandshakeDone(*self.numbers, subprotocol, headers or CIMultiDict()))

    def close_received(self, code: int = 1000, reason: str = "", *, tcp_ended: bool = False) -> None:
        self(CloseReceived(*self.numbers, code, reason, tcp_ended))

    def close_sent(self) -> None:
        self(CloseSent(*self.numbers))

    def violated(self, code: int = 1002) -> None:
        self(Violated(*self.numbers, ProtocolError("no", code=code)))

    def logged_in(self) -> None:
        self(LoginDone(*self.numbers))

    def login_failed(self, error: ConnectError | None = None) -> None:
        self(LoginFailed(*self.numbers, error or ConnectError("no such token")))

    def lost(self, error: ConnectError | ConnectionLost | None = None, **traffic: int) -> None:
        self(Lost(*self.numbers, error, Traffic(**traffic)))

    def elapsed(self) -> None:
        self(Elapsed(self.state.timer))

    def to(self, phase: Phase) -> Machine:
        """Brings a fresh machine to a phase by the shortest way."""
        if phase in (Phase.GREETING, Phase.DISMISSED):
            self.state.profile = replace(self.state.profile, logs_in=True)
        dials = (lambda: self(Start()),)
        fails = (*dials, lambda: self.lost(ConnectError("no", retryable=False)))
        opens = (*dials, self.handshake_done)
        is_closed = (*opens, lambda: self.close_received(1012, "restart"))
        way = {
            Phase.IDLE: (),
            Phase.CONNECTING: dials,
            Phase.GREETING: opens,
            Phase.DISMISSED: is_closed,
            Phase.OPEN: opens,
            Phase.DROPPING: is_closed,
            Phase.RECONNECTING: (*opens, self.lost),
            Phase.CLOSING: (*opens, lambda: self(Stop())),
            Phase.STOPPED: fails,
            Phase.CLOSED: (*fails, lambda: self(Delivered())),
        }[phase]
        for act in way:
            act()
        assert self.state.phase is phase
        return self

    def ignores(self, input_: Input) -> bool:
        """Whether an input leads to nothing at all."""
        before = self.state
        self(input_)
        return self.state is before and self.effects == self.events == []

    def last(self, kind):
        """The last event, which is of this kind."""
        event = self.journal.events[-1]
        assert isinstance(event, kind)
        return event

    @property
    def stopped(self) -> Stopped:
        return self.last(Stopped)

    @property
    def announced(self) -> ErrorEvent:
        """The one error that the last step announced."""
        (event,) = [event for event in self.events if isinstance(event, ErrorEvent)]
        return event


def reconnecting(**changes) -> Machine:
    return Machine(reconnect=replace(RETRYING, **changes))


def connect_error(machine: Machine) -> ConnectError:
    """The one error of the step, which is of phase connect."""
    assert machine.announced.phase == "connect"
    assert isinstance(machine.announced.error, ConnectError)
    return machine.announced.error


# Starting
def test_start_dials():
    machine = Machine()
    machine(Start())
    assert machine.state.phase is Phase.CONNECTING
    assert machine.effects == [Dial(1, 1), SetTimer(1, 5.0)]
    assert machine.kinds() == ["CONNECTING", "Connecting"]
    at = datetime.fromtimestamp(0, UTC)
    assert machine.last(Connecting) == Connecting(connection="chat", session=1, attempt=1, at=at, url="ws://test/")


def test_without_a_connect_timeout_no_timer_is_set_and_none_postponed():
    machine = Machine(connect_timeout=None)
    machine(Start())
    assert machine.effects == [Dial(1, 1)]
    machine(Postponed(1, 1, 7.0))
    assert machine.effects == []


@pytest.mark.parametrize("phase", [*OPENING, Phase.OPEN])
def test_promise_8_start_while_live_does_nothing(phase):
    machine = reconnecting().to(phase)
    assert machine.ignores(Start())


def test_open():
    machine = Machine().to(Phase.CONNECTING)
    machine.time = 0.25
    machine.handshake_done("chat.v2", CIMultiDict({"X-Id": "7"}))
    assert machine.state.phase is Phase.OPEN
    assert machine.effects == [CancelTimer()]
    assert machine.kinds() == ["OPEN", "Opened"]
    opened = machine.last(Opened)
    assert (opened.subprotocol, opened.elapsed, opened.is_reconnect) == ("chat.v2", 0.25, False)
    assert opened.headers == CIMultiDict({"X-Id": "7"})
    assert machine.state.handshake is None, "the headers are not kept"


@pytest.mark.parametrize("error", [ConnectError("refused"), None])
def test_a_refused_dial_is_the_end(error):
    machine = Machine().to(Phase.CONNECTING)
    machine.time = 1.5
    machine.lost(error)
    assert machine.state.phase is Phase.STOPPED
    assert machine.effects == [CancelTimer()]
    assert machine.kinds() == ["ErrorEvent", "CLOSED", "Stopped"]
    error = error or connect_error(machine)
    assert (connect_error(machine), machine.announced.message) == (error, str(error))
    stopped = machine.stopped
    assert (stopped.code, stopped.reason, stopped.was_clean) == (1006, "", False)
    assert (stopped.initiator, stopped.opened, stopped.error) == (Initiator.NETWORK, False, error)
    assert (stopped.attempts, stopped.duration) == (1, 1.5)


def test_a_dial_that_takes_too_long_is_aborted_and_its_end_awaited():
    machine = Machine().to(Phase.CONNECTING)
    # If it does not end in time, it is aborted again.
    for _ in range(2):
        machine.elapsed()
        assert machine.state.phase is Phase.CONNECTING
        assert machine.effects == [AbortLink(), SetTimer(machine.state.timer, 4.0)]
        assert machine.events == []
    machine.lost()
    assert machine.state.phase is Phase.STOPPED
    assert isinstance(machine.stopped.error, ConnectError)
    assert "connect_timeout (5 s)" in str(machine.stopped.error)


# Closing by us


@pytest.mark.parametrize(
    ("command", "close"), [(Stop(4000, "bye"), SendClose(4000, "bye")), (Shutdown(), SendClose(1000, ""))]
)
def test_stop_while_open_sends_close_and_waits(command, close):
    machine = Machine().to(Phase.OPEN)
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [close, SetTimer(machine.state.timer, 4.0)]
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.close_sent()
    assert machine.effects == []
    machine.time = 1.0
    machine.close_received(4000, "bye bye")
    assert machine.timer == 1.0  # the linger
    machine.lost(messages_sent=2, bytes_sent=20, messages_received=1, bytes_received=10, unsent=3)
    assert machine.kinds() == ["CLOSED", "Stopped"]
    stopped = machine.stopped
    assert (stopped.code, stopped.reason, stopped.was_clean) == (4000, "bye bye", True)
    assert (stopped.initiator, stopped.opened, stopped.error) == (Initiator.LOCAL, True, None)
    assert (stopped.messages_sent, stopped.bytes_sent, stopped.unsent) == (2, 20, 3)
    assert (stopped.messages_received, stopped.bytes_received) == (1, 10)


def test_promise_5_the_linger_never_exceeds_the_deadline():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    machine.time = 3.75
    machine.close_received()
    assert machine.timer == 0.25


def test_the_deadline_stays_if_tcp_has_ended_after_the_close_frame():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    before = machine.state.timer
    machine.close_received(tcp_ended=True)
    assert machine.effects == [CloseNow(1000, "")]
    assert machine.state.timer == before, "the deadline's timer still counts"
    machine.lost()
    assert machine.stopped.was_clean


@pytest.mark.parametrize("leaves", [True, False])
def test_the_peer_closes_before_our_close_frame_has_left(leaves):
    machine = Machine().to(Phase.CLOSING)
    machine.close_received(4001, "me too")
    assert machine.effects == [CloseNow(4001, "")]
    if leaves:
        machine.close_sent()
        assert machine.timer == 1.0
    machine.lost()
    assert (machine.stopped.code, machine.stopped.was_clean) == (4001, leaves)
    assert machine.stopped.initiator is (Initiator.LOCAL if leaves else Initiator.REMOTE)


def test_promise_5_no_answer_is_a_timeout():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    machine.elapsed()
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [AbortLink()]
    assert machine.kinds() == ["ErrorEvent"]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.was_clean) == (1006, False)
    assert machine.stopped.initiator is Initiator.TIMEOUT
    assert isinstance(machine.stopped.error, CloseTimeout)
    assert "close_timeout (4 s)" in str(machine.stopped.error)


def test_promise_5_tcp_left_open_after_both_close_frames_is_ended_and_still_clean():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    machine.close_received(1000, "fine")
    machine.elapsed()
    assert machine.effects == [AbortLink()]
    assert machine.events == []
    machine.lost(ConnectionLost("reset"))
    assert (machine.stopped.code, machine.stopped.reason, machine.stopped.was_clean) == (1000, "fine", True)
    assert (machine.stopped.initiator, machine.stopped.error) == (Initiator.LOCAL, None)


def test_tcp_ends_while_we_wait_for_the_answer():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    machine.lost()
    assert machine.kinds() == ["ErrorEvent", "CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.was_clean) == (1006, False)
    assert machine.stopped.initiator is Initiator.LOCAL
    assert isinstance(machine.stopped.error, ConnectionLost)


@pytest.mark.parametrize("command", [Stop(), Abort(), Shutdown()])
def test_promise_8_stop_cancels_a_dial(command):
    machine = reconnecting().to(Phase.CONNECTING)
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert AbortLink() in machine.effects
    assert machine.timer == 4.0
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.lost(ConnectError("cancelled"))
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.initiator, machine.stopped.error) == (Initiator.LOCAL, None)
    assert machine.stopped.opened is False


def test_a_cancelled_dial_that_does_not_end_is_aborted_again_without_an_error():
    machine = Machine().to(Phase.CONNECTING)
    machine(Stop())
    assert machine.timer == 4.0
    machine.elapsed()
    assert machine.effects == [AbortLink()]
    assert machine.events == []
    machine.lost()
    assert machine.stopped.initiator is Initiator.LOCAL


def test_connect_timeout_begins_with_the_dial_when_its_preparation_waits():
    machine = Machine().to(Phase.CONNECTING)
    machine(Postponed(1, 1, 7.0))
    assert machine.state.phase is Phase.CONNECTING
    assert (machine.timer, machine.events) == (12.0, [])
    machine.handshake_done()
    assert machine.state.phase is Phase.OPEN


@pytest.mark.parametrize("command", [Stop(), Abort(), Shutdown()])
def test_a_stop_while_an_overdue_dial_ends_is_not_an_error(command):
    machine = Machine().to(Phase.CONNECTING)
    machine.elapsed()
    machine(command)
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert machine.stopped.error is None


@pytest.mark.parametrize("command", [Stop(), Abort(), Shutdown()])
def test_promise_8_stop_cancels_a_waiting_retry(command):
    machine = reconnecting().to(Phase.DROPPING)
    machine.lost()
    late = machine.state.timer
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert machine.timer == 0.0
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine(Elapsed(late))
    assert machine.events == []
    machine.elapsed()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert machine.state.phase is Phase.STOPPED
    assert (machine.stopped.initiator, machine.stopped.opened, machine.stopped.error) == (Initiator.LOCAL, True, None)
    assert (machine.stopped.code, machine.stopped.reason, machine.stopped.was_clean) == (1006, "", False)


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.CLOSED])
@pytest.mark.parametrize("command", [Stop(), Abort()])
def test_promise_8_stop_without_a_session_does_nothing(phase, command):
    machine = Machine().to(phase)
    assert machine.ignores(command)


def test_abort_while_open():
    machine = Machine().to(Phase.OPEN)
    machine(Abort())
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [SetTimer(machine.state.timer, 4.0), AbortLink()]
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.lost(ConnectionLost("reset"))
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.initiator) == (1006, Initiator.LOCAL)
    assert machine.stopped.error is None


def test_abort_while_closing():
    machine = Machine().to(Phase.CLOSING)
    machine(Start())
    machine(Abort())
    assert machine.effects == [AbortLink()]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.initiator) == (1006, Initiator.LOCAL)
    machine(Delivered())
    assert machine.state.phase is Phase.CLOSED


# Closing by the peer


@pytest.mark.parametrize(("code", "reason"), [(4999, "enough"), (1005, "")])
def test_promise_9_the_peer_closes_and_an_empty_close_frame_is_1005(code, reason):
    machine = Machine().to(Phase.OPEN)
    machine.close_received(code, reason)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [CloseNow(code, ""), SetTimer(machine.state.timer, 4.0)]
    assert machine.kinds() == ["CLOSING", "Closing"]
    assert machine.last(Closing).initiator is Initiator.REMOTE
    machine.close_sent()
    assert machine.timer == 1.0
    machine.lost()
    assert (machine.stopped.code, machine.stopped.reason, machine.stopped.was_clean) == (code, reason, True)
    assert machine.stopped.initiator is Initiator.REMOTE


def test_our_answer_never_leaves():
    machine = Machine().to(Phase.OPEN)
    machine.close_received(1001, "going")
    machine.elapsed()
    assert machine.effects == [AbortLink()]
    assert machine.kinds() == ["ErrorEvent"]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.reason, machine.stopped.was_clean) == (1001, "going", False)
    assert machine.stopped.initiator is Initiator.REMOTE
    assert isinstance(machine.stopped.error, CloseTimeout)


def test_stop_while_the_peer_is_closing_comes_too_late():
    machine = Machine().to(Phase.OPEN)
    machine.close_received()
    machine(Stop(4000, "too late"))
    assert machine.effects == machine.events == []
    machine.close_sent()
    machine.lost()
    assert (machine.stopped.code, machine.stopped.initiator) == (1000, Initiator.REMOTE)
    assert machine.state.failed_sessions == 1, "it has failed all the same"


# Ends without a handshake


@pytest.mark.parametrize("error", [None, ConnectionLost("reset by peer")])
def test_the_network_ends_it(error):
    machine = Machine().to(Phase.OPEN)
    machine.lost(error, messages_received=3)
    assert machine.effects == [CancelTimer()]
    assert machine.stopped.messages_received == 3
    assert machine.kinds() == ["ErrorEvent", "CLOSED", "Stopped"]
    assert machine.announced.phase == "receive"
    assert (machine.stopped.code, machine.stopped.initiator) == (1006, Initiator.NETWORK)
    assert isinstance(machine.stopped.error, ConnectionLost)
    assert machine.stopped.error is (error or machine.announced.error)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009])
def test_promise_9_a_violation_is_answered_with_its_code(code):
    machine = reconnecting().to(Phase.OPEN)
    machine.violated(code)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [CloseNow(code, ""), SetTimer(machine.state.timer, 4.0)]
    assert machine.kinds() == ["ErrorEvent", "CLOSING", "Closing"]
    machine.close_sent()
    assert machine.effects == []
    machine.elapsed()
    assert machine.effects == [AbortLink()]
    assert machine.events == []
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.was_clean) == (1006, False)
    assert machine.stopped.initiator is Initiator.LOCAL
    assert isinstance(machine.stopped.error, ProtocolError)


def test_promise_9_a_close_frame_does_not_count_if_a_transport_reports_one_after_a_violation():
    machine = Machine().to(Phase.OPEN)
    machine.violated(1007)
    machine.close_sent()
    machine.close_received(1000, "bye")
    machine.lost()
    assert (machine.stopped.code, machine.stopped.reason, machine.stopped.was_clean) == (1006, "", False)
    assert machine.stopped.initiator is Initiator.LOCAL


def test_a_violation_while_we_wait_for_the_answer():
    machine = Machine().to(Phase.CLOSING)
    machine.close_sent()
    machine.violated(1007)
    assert machine.kinds() == ["ErrorEvent"]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.code, machine.stopped.initiator) == (1006, Initiator.LOCAL)
    assert isinstance(machine.stopped.error, ProtocolError)


# Logging in


def test_a_login_begins_after_the_handshake_and_opens_the_attempt():
    machine = Machine().to(Phase.CONNECTING)
    machine.state.profile = replace(machine.state.profile, logs_in=True)
    machine.time = 1.0
    machine.handshake_done("chat.v2")
    assert machine.state.phase is Phase.GREETING
    assert machine.effects == [BeginLogin(HandshakeDone(1, 1, "chat.v2", CIMultiDict()))], "connect_timeout goes on"
    assert machine.events == []
    machine.time = 3.0
    machine.logged_in()
    assert machine.state.phase is Phase.OPEN
    assert machine.effects == [CancelTimer()]
    assert machine.kinds() == ["OPEN", "Opened"]
    opened = machine.last(Opened)
    assert (opened.subprotocol, opened.elapsed) == ("chat.v2", 3.0)


@pytest.mark.parametrize("how", ["raises", "too slow"])
def test_a_failed_login_closes_in_order(how):
    machine = Machine().to(Phase.GREETING)
    machine.login_failed() if how == "raises" else machine.elapsed()
    closes = [SendClose(1000, ""), SetTimer(machine.state.timer, 4.0)]
    assert machine.effects == (closes if how == "raises" else [CancelLogin(), *closes])
    assert machine.state.phase is Phase.CLOSING
    assert machine.kinds() == ["ErrorEvent", "CLOSING", "Closing"]
    error = connect_error(machine)
    assert str(error) == (
        "no such token" if how == "raises" else "after_connect was not done within connect_timeout (5 s)"
    )
    machine.close_sent()
    machine.close_received(1000, "as you like")
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    stopped = machine.stopped
    assert (stopped.code, stopped.reason, stopped.was_clean) == (1000, "as you like", True)
    assert (stopped.initiator, stopped.opened, stopped.error) == (Initiator.LOCAL, False, error)


@pytest.mark.parametrize("how", ["raises", "too slow"])
def test_a_failed_login_is_retried(how):
    machine = reconnecting(max_attempts=2).to(Phase.GREETING)
    machine.login_failed() if how == "raises" else machine.elapsed()
    assert machine.state.phase is Phase.DROPPING
    assert machine.kinds() == ["ErrorEvent", "RECONNECTING"]
    assert SendClose(1000, "") in machine.effects
    assert (CancelLogin() in machine.effects) is (how != "raises")
    assert machine.timer == 4.0
    error = connect_error(machine)
    machine(Start())
    machine.close_sent()
    assert machine.effects == []
    machine.close_received(1000, "bye")
    assert machine.effects[0] == CloseNow(1000, "")
    assert machine.timer == 1.0
    machine.lost()
    assert machine.kinds() == ["Dropped"]
    dropped = machine.last(Dropped)
    assert (dropped.code, dropped.reason, dropped.was_clean) == (1000, "bye", True)
    machine.elapsed()
    assert machine.effects[0] == Dial(1, 2, error)
    machine.handshake_done()
    machine.login_failed()
    assert machine.state.phase is Phase.CLOSING, "the attempts are used up"
    machine.lost(ConnectionLost("reset"))
    assert machine.kinds() == ["CLOSED", "Stopped"], "it was announced"
    assert str(machine.stopped.error) == "no such token"
    assert (machine.stopped.initiator, machine.stopped.was_clean) == (Initiator.LOCAL, False)


@pytest.mark.parametrize("how", ["raises", "too slow"])
def test_a_stop_while_an_attempt_ends_whose_login_failed(how):
    machine = reconnecting().to(Phase.GREETING)
    machine.login_failed() if how == "raises" else machine.elapsed()
    machine(Stop())
    assert machine.kinds() == ["CLOSING", "Closing"]
    assert machine.effects == [], "our Close frame is under way"
    machine.lost()
    assert machine.stopped.initiator is Initiator.LOCAL


@pytest.mark.parametrize(("ends", "phase"), [(Machine.login_failed, Phase.CLOSING), (Machine.lost, Phase.STOPPED)])
def test_a_login_that_gives_up_is_not_retried(ends, phase):
    machine = reconnecting().to(Phase.GREETING)
    ends(machine, ConnectError("wrong password", retryable=False))
    assert machine.state.phase is phase


@pytest.mark.parametrize("phase", [Phase.DROPPING, Phase.CLOSING])
def test_the_peer_does_not_answer_after_a_failed_login(phase):
    machine = (reconnecting() if phase is Phase.DROPPING else Machine()).to(Phase.GREETING)
    machine.login_failed()
    machine.close_sent()
    machine.elapsed()
    assert machine.state.phase is phase
    assert machine.effects == [AbortLink()]
    assert machine.events == [], "the attempt's end was announced"
    machine.lost()
    assert machine.kinds() == (["Dropped"] if phase is Phase.DROPPING else ["CLOSED", "Stopped"])


def test_a_violation_after_a_failed_login_changes_nothing_about_the_next_attempt():
    machine = reconnecting().to(Phase.GREETING)
    machine.login_failed()
    machine.violated(1007)
    assert machine.effects == [CloseNow(1007, "")]
    assert machine.kinds() == ["ErrorEvent"]
    machine.close_sent()
    machine.lost()
    assert machine.kinds() == ["Dropped"]
    machine.elapsed()
    machine.handshake_done()
    machine.close_received(1001, "away")
    machine.close_sent()
    machine.lost()
    dropped = machine.last(Dropped)
    assert (dropped.code, dropped.was_clean) == (1001, True)


def test_a_violation_during_the_login_is_answered_with_its_code():
    machine = reconnecting().to(Phase.GREETING)
    machine.violated(1007)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [CloseNow(1007, ""), CancelLogin(), SetTimer(machine.state.timer, 4.0)]
    assert machine.kinds() == ["ErrorEvent", "CLOSING", "Closing"]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.initiator, machine.stopped.code) == (Initiator.LOCAL, 1006)
    assert isinstance(machine.stopped.error, ProtocolError)


@pytest.mark.parametrize("retries", [True, False])
def test_the_link_is_lost_during_the_login(retries):
    machine = (reconnecting() if retries else Machine()).to(Phase.GREETING)
    error = ConnectError("the connection ended during the login")
    machine.lost(error, messages_sent=3)
    assert machine.kinds() == (
        ["ErrorEvent", "RECONNECTING", "Dropped"] if retries else ["ErrorEvent", "CLOSED", "Stopped"]
    )
    assert connect_error(machine) is error
    assert machine.effects[0] == CancelTimer()
    machine(Abort())
    machine.elapsed() if retries else None
    assert machine.stopped.messages_sent == 3
    assert machine.stopped.initiator is (Initiator.LOCAL if retries else Initiator.NETWORK)


@pytest.mark.parametrize("command", [Stop(4000, "bye"), Shutdown(), Abort()])
def test_a_stop_cancels_a_login_and_closes_as_while_open(command):
    machine = reconnecting().to(Phase.GREETING)
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert machine.kinds() == ["CLOSING", "Closing"]
    timer = SetTimer(machine.state.timer, 4.0)
    if isinstance(command, Abort):
        assert machine.effects == [timer, AbortLink()]
    else:
        close = SendClose(4000, "bye") if isinstance(command, Stop) else SendClose(1000, "")
        assert machine.effects == [CancelLogin(), close, timer]
        machine.close_sent()
        machine.close_received(4001, "you too")
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert (machine.stopped.opened, machine.stopped.error) == (False, None)
    assert machine.stopped.initiator is Initiator.LOCAL
    assert machine.stopped.was_clean is not isinstance(command, Abort)


@pytest.mark.parametrize("input_", [LoginDone(1, 1), LoginFailed(1, 1, ConnectError("late"))])
@pytest.mark.parametrize("phase", [Phase.CLOSING, Phase.OPEN, Phase.DROPPING])
def test_a_login_that_ends_too_late_changes_nothing(input_, phase):
    machine = reconnecting().to(phase)
    assert machine.ignores(input_)


# The peer closes during the login


def test_a_close_during_the_login_is_answered_at_once_and_the_login_goes_on():
    machine = Machine().to(Phase.GREETING)
    machine.close_received(4401, "bad token")
    assert machine.state.phase is Phase.DISMISSED
    assert machine.effects == [CloseNow(4401, ""), SetTimer(machine.state.timer, 4.0)]
    assert machine.events == []
    machine.close_sent()
    assert machine.timer == 1.0
    assert machine.events == []


@pytest.mark.parametrize("how", ["raises", "too slow", "is lost"])
@pytest.mark.parametrize("retries", [True, False])
def test_a_login_that_the_peer_has_closed_fails_with_its_words(how, retries):
    machine = (reconnecting() if retries else Machine()).to(Phase.GREETING)
    machine.close_received(4401, "bad token")
    machine.close_sent()
    machine.time = 1.0
    lost = partial(machine.lost, messages_sent=1)
    {"raises": machine.login_failed, "too slow": machine.elapsed, "is lost": lost}[how]()
    error = connect_error(machine)
    assert (error.code, error.reason, error.retryable) == (4401, "bad token", True)
    assert str(error) == "the peer closed during the login: 4401 bad token"
    if how != "is lost":
        assert machine.kinds() == ["ErrorEvent", *(["RECONNECTING"] if retries else ["CLOSING", "Closing"])]
        assert machine.effects == ([AbortLink(), SetTimer(machine.state.timer, 3.0)] if how == "too slow" else [])
        lost()
    assert machine.state.phase is (Phase.RECONNECTING if retries else Phase.STOPPED)
    assert machine.state.has_link is False
    assert machine.kinds()[-1] == ("Dropped" if retries else "Stopped")
    last = machine.last(Dropped | Stopped)
    assert (last.code, last.reason, last.was_clean) == (4401, "bad token", True)
    if isinstance(last, Stopped):
        assert (last.initiator, last.error, last.opened) == (Initiator.REMOTE, error, False)
        assert last.messages_sent == 1
    else:
        assert machine.effects[0] == CancelTimer()
        assert machine.timer is not None


@pytest.mark.parametrize("how", ["raises", "too slow", "is lost", "is done"])
def test_a_final_code_during_the_login_is_not_retried(how):
    machine = reconnecting(final_codes=frozenset({4401})).to(Phase.GREETING)
    machine.close_received(4401)
    acts = {"raises": machine.login_failed, "too slow": machine.elapsed, "is lost": machine.lost}
    acts.get(how, machine.logged_in)()
    assert machine.state.phase is (Phase.STOPPED if how == "is lost" else Phase.CLOSING)
    assert machine.journal.kinds.count("Closing") == 1


def test_a_hook_that_gives_up_has_the_last_word():
    machine = reconnecting().to(Phase.DISMISSED)
    error = ConnectError("wrong password", retryable=False)
    machine.login_failed(error)
    assert machine.state.phase is Phase.CLOSING
    assert connect_error(machine) is error


@pytest.mark.parametrize("retries", [True, False])
def test_a_login_that_is_done_after_a_close_has_opened(retries):
    """Its answer, messages and a Close frame may come in one read, and none of them may be lost."""
    machine = (reconnecting() if retries else Machine()).to(Phase.DISMISSED)
    deadline = machine.state.timer
    machine.logged_in()
    assert machine.effects == [], "close_timeout goes on"
    assert machine.state.timer == deadline
    if retries:
        assert machine.state.phase is Phase.DROPPING
        assert machine.kinds() == ["OPEN", "Opened", "RECONNECTING"]
    else:
        assert machine.state.phase is Phase.CLOSING
        assert machine.kinds() == ["OPEN", "Opened", "CLOSING", "Closing"]
    machine.close_sent()
    machine.lost()
    last = machine.last(Dropped | Stopped)
    assert (last.code, last.reason, last.was_clean) == (1012, "restart", True)
    if isinstance(last, Stopped):
        assert (last.initiator, last.opened, last.error) == (Initiator.REMOTE, True, None)


@pytest.mark.parametrize("command", [Stop(4000, "bye"), Shutdown(), Abort()])
def test_a_stop_after_a_close_during_the_login(command):
    machine = reconnecting().to(Phase.DISMISSED)
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == [AbortLink() if isinstance(command, Abort) else CancelLogin()]
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.lost()
    assert machine.stopped.initiator is Initiator.REMOTE
    assert machine.stopped.code == 1012
    assert (machine.stopped.error is None) is isinstance(command, Abort)


# Start while ending, and after


@pytest.mark.parametrize("phase", [Phase.CLOSING, Phase.STOPPED])
def test_promise_8_start_while_ending_begins_the_next_session_once_this_one_is_over(phase):
    machine = Machine().to(phase)
    machine(Start())
    assert machine.effects == machine.events == []
    if phase is Phase.CLOSING:
        machine.lost()
    assert machine.state.phase is Phase.STOPPED
    machine(Delivered())
    assert machine.state.phase is Phase.CONNECTING
    assert machine.effects[0] == Dial(2, 1)
    assert machine.kinds() == ["CONNECTING", "Connecting"]
    machine.handshake_done()
    opened = machine.last(Opened)
    assert opened.is_reconnect is False


@pytest.mark.parametrize("phase", [Phase.CLOSING, Phase.STOPPED])
@pytest.mark.parametrize("command", [Stop(), Abort(), Shutdown()])
def test_promise_8_a_stop_before_that_cancels_it(phase, command):
    machine = Machine().to(phase)
    machine(Start())
    machine(command)
    if phase is Phase.CLOSING:
        machine.lost()
    machine(Delivered())
    assert machine.state.phase is Phase.CLOSED
    assert machine.effects == machine.events == []


@pytest.mark.parametrize("phase", list(Phase))
def test_promise_10_nothing_starts_once_the_project_is_being_left(phase):
    machine = reconnecting().to(phase)
    machine(Start())
    machine(Shutdown())
    assert machine.state.is_shut_down
    for _ in range(3):
        machine(Start())
    if machine.state.phase is Phase.CLOSING:
        assert machine.journal.kinds.count("Closing") == 1
        if machine.state.has_link:
            machine.close_received()
            machine.close_sent()
            machine.lost()
        else:
            machine.elapsed()
    if machine.state.phase is Phase.STOPPED:
        machine(Delivered())
    assert machine.state.phase in (Phase.IDLE, Phase.CLOSED)
    sessions = machine.state.session
    machine(Start())
    assert machine.state.session == sessions
    assert machine.effects == machine.events == []


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.CLOSED])
def test_promise_10_nor_when_nothing_was_live(phase):
    machine = Machine().to(phase)
    machine(Shutdown())
    machine(Start())
    assert machine.state.phase is phase
    assert machine.effects == machine.events == []


def test_a_session_starts_with_nothing_of_the_one_before():
    machine = Machine().to(Phase.OPEN)
    machine.lost(messages_sent=7)
    machine(Delivered())
    machine(Start())
    assert machine.state.phase is Phase.CONNECTING
    machine.lost(ConnectError("no"))
    stopped = machine.stopped
    assert (stopped.session, stopped.messages_sent, stopped.opened, stopped.attempts) == (2, 0, False, 1)


# Reconnecting


def test_an_end_by_the_network_is_retried():
    machine = reconnecting().to(Phase.OPEN)
    machine.chance = 0.25
    machine.lost(messages_sent=1)
    assert machine.state.phase is Phase.RECONNECTING
    assert machine.kinds() == ["ErrorEvent", "RECONNECTING", "Dropped"]
    assert machine.timer == 0.5
    dropped = machine.last(Dropped)
    assert (dropped.code, dropped.was_clean, dropped.retry_in) == (1006, False, 0.5)
    dropped_because = machine.state.error
    assert isinstance(dropped_because, ConnectionLost)
    machine.elapsed()
    assert machine.state.phase is Phase.CONNECTING
    assert machine.effects[0] == Dial(1, 2, dropped_because)
    assert machine.kinds() == ["CONNECTING", "Connecting"]
    machine.handshake_done()
    opened = machine.last(Opened)
    assert opened.is_reconnect
    machine.lost(messages_sent=2)
    assert machine.state.traffic.messages_sent == 3


def test_a_failed_dial_is_retried():
    machine = reconnecting().to(Phase.CONNECTING)
    machine.lost(ConnectError("refused"))
    assert machine.kinds() == ["ErrorEvent", "RECONNECTING", "Dropped"]
    assert CancelTimer() in machine.effects


UNTRUSTED = ConnectError("no", untrusted_certificate=True)


@pytest.mark.parametrize(
    ("changes", "error", "is_retried"),
    [
        ({}, ConnectError("no"), True),
        ({}, ConnectError("503", status=503), True),
        *(({}, ConnectError("no", status=status), False) for status in (401, 403, 404)),
        ({}, ConnectError("no", proxy_status=407), False),
        ({}, ConnectError("no", proxy_status=502), True),
        ({"final_statuses": frozenset({503})}, ConnectError("503", status=503), False),
        ({"final_statuses": frozenset({503})}, ConnectError("401", status=401), True),
        ({"final_statuses": Ranges((range(400, 500),))}, ConnectError("429", status=429), False),
        ({}, UNTRUSTED, False),
        ({"retry_certificates": True}, UNTRUSTED, True),
        ({"final_statuses": frozenset(), "retry_certificates": True}, ConnectError("no", retryable=False), False),
    ],
)
def test_the_settings_decide_what_is_retried(changes, error, is_retried):
    machine = reconnecting(**changes).to(Phase.CONNECTING)
    machine.lost(error)
    assert machine.state.phase is (Phase.RECONNECTING if is_retried else Phase.STOPPED)


@pytest.mark.parametrize(
    ("changes", "asked", "delay"),
    [
        ({}, None, 1.0),
        ({}, 0.5, 1.0),
        ({}, 60.0, 60.0),
        ({}, float("inf"), 3600.0),
        ({"retry_after": False}, 60.0, 1.0),
    ],
)
def test_what_the_server_asks_for_is_the_least_delay(changes, asked, delay):
    machine = reconnecting(**changes).to(Phase.CONNECTING)
    machine.lost(ConnectError("503", status=503, retry_after=asked))
    dropped = machine.last(Dropped)
    assert dropped.retry_in == machine.timer == delay


@pytest.mark.parametrize(("answer", "is_retried"), [(ConnectError("404", status=404), False), (None, True)])
def test_an_answer_that_came_before_we_gave_up_counts(answer, is_retried):
    machine = reconnecting().to(Phase.CONNECTING)
    machine.elapsed()
    machine.lost(answer)
    assert machine.state.phase is (Phase.RECONNECTING if is_retried else Phase.STOPPED)
    assert ("404" in str(machine.state.error)) is not is_retried


def test_a_close_by_the_peer_is_retried():
    machine = reconnecting().to(Phase.OPEN)
    machine.close_received(1012, "restarting")
    assert machine.state.phase is Phase.DROPPING
    assert machine.effects == [CloseNow(1012, ""), SetTimer(machine.state.timer, 4.0)]
    assert machine.kinds() == ["RECONNECTING"]
    machine.close_sent()
    assert machine.timer == 1.0
    machine.lost()
    assert machine.kinds() == ["Dropped"]
    dropped = machine.last(Dropped)
    assert (dropped.code, dropped.reason, dropped.was_clean) == (1012, "restarting", True)


@pytest.mark.parametrize(
    ("changes", "code", "phase"),
    [
        *(({}, code, Phase.CLOSING) for code in (1000, 1002, 1003, 1007, 1008, 1009, 1010)),
        ({"final_codes": frozenset({4000})}, 4000, Phase.CLOSING),
        ({"final_codes": frozenset({4000})}, 1000, Phase.DROPPING),
    ],
)
def test_promise_8_unless_its_code_says_that_trying_again_cannot_help(changes, code, phase):
    machine = reconnecting(**changes).to(Phase.OPEN)
    machine.close_received(code)
    assert machine.state.phase is phase


@pytest.mark.parametrize("is_late", [True, False])
def test_a_dropped_attempt_that_ends_before_our_answer_left_is_not_clean(is_late):
    machine = reconnecting().to(Phase.DROPPING)
    if is_late:
        machine.elapsed()
        assert machine.effects == [AbortLink()]
        assert machine.announced.phase == "close"
    machine.lost()
    assert machine.kinds() == (["Dropped"] if is_late else ["ErrorEvent", "Dropped"])
    assert is_late or machine.announced.phase == "close"
    assert (machine.last(Dropped).code, machine.last(Dropped).was_clean) == (1012, False)


@pytest.mark.parametrize("command", [Stop(), Shutdown()])
def test_stop_while_a_closed_attempt_ends(command):
    machine = reconnecting().to(Phase.DROPPING)
    machine(command)
    assert machine.state.phase is Phase.CLOSING
    assert machine.effects == []
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.close_sent()
    machine.lost()
    assert (machine.stopped.code, machine.stopped.was_clean) == (1012, True)
    assert machine.stopped.initiator is Initiator.REMOTE


def test_abort_while_a_closed_attempt_ends():
    machine = reconnecting().to(Phase.DROPPING)
    machine(Abort())
    assert machine.effects == [AbortLink()]
    assert machine.kinds() == ["CLOSING", "Closing"]
    machine.lost()
    assert machine.kinds() == ["CLOSED", "Stopped"]
    assert machine.stopped.error is None


def test_delays_grow_by_the_factor_up_to_the_longest():
    machine = reconnecting(jitter=False).to(Phase.CONNECTING)
    delays = []
    for _ in range(5):
        machine.lost(ConnectError("refused"))
        delays.append(machine.timer)
        machine.elapsed()
    assert delays == [2.0, 6.0, 10.0, 10.0, 10.0]


def test_full_jitter_draws_from_zero_to_the_bound():
    machine = reconnecting().to(Phase.CONNECTING)
    for chance, bound in [(0.0, 2.0), (0.5, 6.0), (0.999, 10.0)]:
        machine.chance = chance
        machine.lost(ConnectError("refused"))
        assert machine.timer == chance * bound
        machine.elapsed()


def test_a_bound_beyond_floats_is_the_longest_delay():
    assert ReconnectPolicy(factor=10.0, jitter=False).delay(5000, 0.0) == 30.0


def test_a_stable_attempt_resets_the_delays():
    machine = reconnecting(jitter=False).to(Phase.CONNECTING)
    for _ in range(2):
        machine.lost(ConnectError("refused"))
        machine.elapsed()
    machine.handshake_done()
    machine.time += 99.0
    machine.lost()
    assert machine.timer == 10.0
    machine.elapsed()
    machine.handshake_done()
    machine.time += 100.0
    machine.lost()
    assert machine.timer == 2.0


def test_max_attempts_in_a_row():
    machine = reconnecting(max_attempts=3).to(Phase.CONNECTING)
    for _ in range(2):
        machine.lost(ConnectError("refused"))
        machine.elapsed()
    last = ConnectError("refused for the last time")
    machine.lost(last)
    assert machine.state.phase is Phase.STOPPED
    assert (machine.stopped.attempts, machine.stopped.error) == (3, last)


def test_the_error_of_an_attempt_is_forgotten_by_the_next():
    machine = reconnecting(max_attempts=5).to(Phase.CONNECTING)
    machine.elapsed()
    machine.lost()
    machine.elapsed()
    machine.handshake_done()
    machine(Stop())
    machine.close_sent()
    machine.close_received()
    machine.lost()
    assert machine.stopped.was_clean
    assert machine.stopped.error is None


def test_an_attempt_begins_with_nothing_of_the_one_before():
    machine = reconnecting(max_attempts=2).to(Phase.GREETING)
    machine.login_failed()
    machine.close_sent()
    machine.close_received()
    machine.lost()
    assert machine.last(Dropped).was_clean
    machine.time = 3.0
    machine.elapsed()
    machine.handshake_done()
    machine.logged_in()
    assert machine.last(Opened).elapsed == 0.0
    machine.time += 100.0
    machine.close_received(1012)
    machine.lost()
    assert machine.announced.phase == "close", "our Close frame of this attempt has not left"
    assert not machine.last(Dropped).was_clean
    machine.elapsed()
    machine.lost(ConnectError("refused"))
    assert machine.stopped.initiator is Initiator.NETWORK, "this attempt was never open, so it is the second to fail"


# Sessions that fail one after the other


def restarted(machine, after=0.0):
    """The delay of a session that is started so long after the last one."""
    machine(Delivered())
    machine.time += after
    machine(Start())
    (dialled,) = [effect for effect in machine.effects if isinstance(effect, Dial)]
    assert machine.timer == dialled.delay + 5.0, "connect_timeout begins with the dial"
    assert machine.kinds() == ["CONNECTING", "Connecting"]
    return dialled.delay


STEADY = ReconnectPolicy(initial_delay=2.0, factor=3.0, max_delay=10.0, jitter=False, reset_after=100.0)


def fails(machine):
    machine.lost(ConnectError("refused"))


def is_closed_by_the_peer(machine):
    machine.handshake_done()
    machine.close_received(1000)
    machine.close_sent()
    machine.lost()


@pytest.mark.parametrize("fail", [fails, is_closed_by_the_peer])
@pytest.mark.parametrize("jitter", [False, True])
def test_restarts_keep_the_delays_of_retries(fail, jitter):
    machine = Machine(reconnect=replace(STEADY, jitter=jitter)).to(Phase.CONNECTING)
    delays = []
    for _ in range(5):
        fail(machine)
        delays.append(restarted(machine))
    bounds = [0.0, 2.0, 6.0, 10.0, 10.0]
    assert delays == ([machine.chance * bound for bound in bounds] if jitter else bounds)


@pytest.mark.parametrize(("after", "delay"), [(1.5, 0.5), (2.0, 0.0), (60.0, 0.0)])
def test_time_that_has_passed_since_the_end_counts(after, delay):
    machine = Machine(reconnect=STEADY).to(Phase.CONNECTING)
    fails(machine)
    restarted(machine)
    fails(machine)
    assert restarted(machine, after) == delay


@pytest.mark.parametrize("command", [Stop(), Abort(), Shutdown()])
@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.OPEN, Phase.DROPPING, Phase.RECONNECTING])
def test_a_session_that_we_ended_has_not_failed(phase, command):
    machine = reconnecting().to(phase)
    machine.state.failed_sessions = 7
    machine(command)
    if phase is Phase.RECONNECTING:
        machine.elapsed()
    else:
        machine.lost()
    assert machine.state.phase is Phase.STOPPED
    assert machine.state.failed_sessions == 0


@pytest.mark.parametrize(("seconds", "delay"), [(99.0, 2.0), (100.0, 0.0)])
def test_a_session_that_was_open_for_long_has_not_failed(seconds, delay):
    machine = Machine(reconnect=STEADY).to(Phase.CONNECTING)
    fails(machine)
    restarted(machine)
    machine.handshake_done()
    machine.time += seconds
    machine.lost()
    assert restarted(machine) == delay


def test_the_attempts_after_the_first_wait_for_nothing_more():
    machine = Machine(reconnect=replace(STEADY, enabled=True, max_attempts=2)).to(Phase.CONNECTING)
    for _ in range(2):
        fails(machine)
        machine.elapsed()
        fails(machine)
        delay = restarted(machine)
    assert delay == 2.0
    machine.time += delay
    fails(machine)
    assert machine.timer == 2.0
    machine.time += machine.timer
    machine.elapsed()
    assert machine.effects[0] == Dial(3, 2, machine.effects[0].last_error, 0.0)


def test_a_restart_waits_as_long_as_the_server_asks():
    busy = ConnectError("503", status=503, retry_after=60.0)
    machine = Machine(reconnect=STEADY).to(Phase.CONNECTING)
    machine.lost(busy)
    assert restarted(machine, after=20.0) == 40.0
    machine.time += 40.0
    machine.lost(busy)
    machine(Delivered())
    machine(Start())
    machine(Stop())
    machine.lost()
    assert restarted(machine) == 0.0, "a stop, and a start by hand"


# Reports and stale inputs


@pytest.mark.parametrize("phase", list(Phase))
def test_a_report_changes_no_state(phase):
    machine = reconnecting().to(phase)
    before = machine.state
    error = SendError("not open")
    machine(Reported("send", error))
    assert machine.state == before
    (event,) = machine.events
    assert isinstance(event, ErrorEvent)
    assert (event.phase, event.error) == ("send", error)
    is_live = phase not in (Phase.IDLE, Phase.STOPPED, Phase.CLOSED)
    assert (event.session, event.attempt) == ((1, 1) if is_live else (0, 0))


STALE = [
    HandshakeDone(1, 1, None, CIMultiDict()),
    CloseReceived(1, 1, 1000, ""),
    CloseSent(1, 1),
    Violated(1, 1, ProtocolError("late")),
    LoginDone(1, 1),
    LoginFailed(1, 1, ConnectError("late")),
    Lost(1, 1, None, Traffic()),
    Elapsed(1),
]


@pytest.mark.parametrize("input_", STALE, ids=lambda i: type(i).__name__)
def test_an_answer_of_an_old_attempt_changes_nothing_nor_one_of_a_lost_link(input_):
    machine = reconnecting().to(Phase.RECONNECTING)
    machine.elapsed()
    assert machine.ignores(input_)
    assert Machine().to(Phase.STOPPED).ignores(input_)


def test_what_cannot_come_raises_and_leaves_the_state_as_it_was():
    machine = Machine().to(Phase.OPEN)
    before = machine.state
    with pytest.raises(MachineError, match="HandshakeDone cannot come while OPEN"):
        machine.handshake_done()
    assert machine.state is before
    with pytest.raises(MachineError, match="Delivered cannot come while OPEN"):
        machine(Delivered())


# What waits for the connection to open


@pytest.mark.parametrize("phase", [*OPENING, Phase.OPEN])
def test_what_waited_for_the_connection_to_open_and_was_given_up_is_unsent(phase):
    machine = reconnecting().to(phase)
    machine(Discarded(2))
    assert machine.state.phase is phase
    assert machine.events == machine.effects == []
    machine(Discarded(3))
    machine(Abort())
    machine.elapsed() if phase is Phase.RECONNECTING else machine.lost(unsent=4)
    assert machine.stopped.unsent == (5 if phase is Phase.RECONNECTING else 9)
