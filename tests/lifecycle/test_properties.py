"""Any sequence of inputs keeps the promises."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from multidict import CIMultiDict
from promises import Journal

from rxnodes.errors import ConnectError, ConnectionLost, ProtocolError, SendError
from rxnodes.lifecycle.events import Traffic
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
    Elapsed,
    HandshakeDone,
    Input,
    LinkInput,
    LoginDone,
    LoginFailed,
    Lost,
    Now,
    Reported,
    SendClose,
    SetTimer,
    Shutdown,
    Start,
    Stop,
    Violated,
)
from rxnodes.lifecycle.machine import Phase, Profile, State, step
from rxnodes.lifecycle.policy import Policy, ReconnectPolicy
from rxnodes.lifecycle.states import ConnectionState

pytestmark = pytest.mark.slow

codes = st.sampled_from([1000, 1001, 1005, 1008, 1012, 3000, 4999])


class Link:
    """A link as the transport's protocol allows one to behave."""

    def __init__(self, session: int, attempt: int) -> None:
        self.numbers = (session, attempt)
        self.is_open = False
        self.is_aborted = False
        self.owes_close = False
        self.has_sent_close = False
        self.is_mute = False
        self.is_logging_in = False


class AnySequence(RuleBasedStateMachine):
    """Plays the shell and the network around the machine."""

    @initialize(
        enabled=st.booleans(),
        max_attempts=st.one_of(st.none(), st.integers(1, 4)),
        reset_after=st.sampled_from([0.0, 5.0]),
        logs_in=st.booleans(),
    )
    def begin(self, enabled, max_attempts, reset_after, logs_in):
        reconnect = ReconnectPolicy(enabled=enabled, max_attempts=max_attempts, reset_after=reset_after)
        policy = Policy(close_timeout=4.0, reconnect=reconnect)
        self.state = State(profile=Profile(name="chat", url="ws://test/", policy=policy, logs_in=logs_in))
        self.journal = Journal()
        self.link: Link | None = None
        self.due: tuple[int, float] | None = None
        self.time = 0.0
        self.undelivered = False
        self.closing_since: float | None = None
        self.started = 0
        self.is_shut_down = False
        self.old: list[Input] = []

    def feed(self, input_: Input) -> None:
        now = Now(datetime.fromtimestamp(self.time, UTC), self.time, 0.5)
        before = self.state.copy()
        done = step(self.state, input_, now)
        assert self.state == before, "a step works on a copy of its own"
        self.state = done.state
        for event in done.events:
            if isinstance(event, ConnectionState):
                self.journal.state(event)
            else:
                self.journal.event(event)
                self.undelivered = self.undelivered or type(event).__name__ == "Stopped"
        for effect in done.effects:
            self.perform(effect)
        if isinstance(input_, LinkInput | Elapsed):
            self.old.append(input_)
        is_closing = self.state.phase in (Phase.CLOSING, Phase.DROPPING, Phase.DISMISSED)
        self.closing_since = (self.closing_since or self.time) if is_closing else None

    def perform(self, effect):
        match effect:
            case Dial(session, attempt, _, delay):
                assert self.link is None, "one link at a time"
                assert 0 <= delay <= 60
                assert delay == 0 or (attempt == 1 and session > 1), "only a restart is held back"
                self.link = Link(session, attempt)
            case SetTimer(timer, delay):
                assert delay >= 0
                self.due = (timer, self.time + delay)
            case CancelTimer():
                self.due = None
            case AbortLink():
                if self.link is not None:
                    self.link.is_aborted = True
                    self.link.is_logging_in = False
            case BeginLogin():
                assert self.link is not None
                self.link.is_logging_in = True
            case CancelLogin():
                assert self.link is not None
                self.link.is_logging_in = False
            case SendClose() | CloseNow():
                assert self.link is not None
                assert self.link.is_open
                self.link.owes_close = not self.link.has_sent_close
                self.link.is_mute = self.link.is_mute or isinstance(effect, CloseNow)

    def can(self, *, is_open: bool = True) -> bool:
        return self.link is not None and not self.link.is_aborted and self.link.is_open is is_open

    # Commands, at any moment

    @rule()
    def start(self):
        self.feed(Start())

    @rule()
    def stop(self):
        self.feed(Stop())

    @rule()
    def abort(self):
        self.feed(Abort())

    @rule(sure=st.integers(0, 7))
    def shut_down(self, sure):
        if sure == 0:
            self.feed(Shutdown())
            self.is_shut_down = True

    @rule()
    def report(self):
        self.feed(Reported("send", SendError("no")))

    # The network

    @precondition(lambda self: self.can(is_open=False))
    @rule()
    def handshake_done(self):
        self.link.is_open = True
        self.feed(HandshakeDone(*self.link.numbers, None, CIMultiDict()))

    @precondition(lambda self: self.can() and not self.link.is_mute)
    @rule(code=codes)
    def close_received(self, code):
        self.link.is_mute = True
        self.feed(CloseReceived(*self.link.numbers, code, "because"))

    @precondition(lambda self: self.can() and self.link.owes_close)
    @rule()
    def close_sent(self):
        self.link.owes_close = False
        self.link.has_sent_close = True
        self.feed(CloseSent(*self.link.numbers))

    @precondition(lambda self: self.can() and not self.link.is_mute)
    @rule(code=st.sampled_from([1002, 1007, 1009]))
    def violate(self, code):
        self.link.is_mute = True
        self.feed(Violated(*self.link.numbers, ProtocolError("no", code=code)))

    @precondition(lambda self: self.link is not None and self.link.is_logging_in)
    @rule(succeeds=st.booleans(), retryable=st.booleans())
    def end_login(self, succeeds, retryable):
        self.link.is_logging_in = False
        error = ConnectError("no such token", retryable=retryable)
        self.feed(LoginDone(*self.link.numbers) if succeeds else LoginFailed(*self.link.numbers, error))

    @precondition(lambda self: self.link is not None)
    @rule(retryable=st.booleans(), known=st.booleans(), asked=st.sampled_from([None, 1.0, 60.0]))
    def lose(self, retryable, known, asked=None):
        link, self.link = self.link, None
        refused = ConnectError("refused", retryable=retryable, retry_after=asked)
        error = ConnectionLost("reset") if link.is_open and not link.is_logging_in else refused
        self.feed(Lost(*link.numbers, error if known else None, Traffic(messages_sent=1)))

    # The clock and the shell

    @precondition(lambda self: self.due is not None)
    @rule()
    def elapse(self):
        (timer, when), self.due = self.due, None
        self.time = max(self.time, when)
        self.feed(Elapsed(timer))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def wait(self, seconds):
        limit = self.due[1] if self.due else float("inf")
        self.time = min(self.time + seconds, limit)

    @precondition(lambda self: self.undelivered)
    @rule()
    def deliver(self):
        self.undelivered = False
        self.feed(Delivered())

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def repeat_an_old_input(self, data):
        old = data.draw(st.sampled_from(self.old))
        current = self.link.numbers if self.link else None
        if isinstance(old, Elapsed):
            if self.due is not None and old.timer == self.due[0]:
                return
        elif (old.session, old.attempt) == current:
            return
        before = self.state
        self.feed(old)
        assert self.state is before

    # Promises

    @invariant()
    def one_stopped_per_start(self):
        for session in self.journal.sessions[:-1]:
            assert session.stopped is not None

    @invariant()
    def a_live_session_has_something_to_wait_for(self):
        if self.state.phase in (Phase.CLOSING, Phase.DROPPING, Phase.DISMISSED, Phase.RECONNECTING):
            assert self.due is not None or (self.link is not None and self.link.is_aborted)
        if self.state.phase in (Phase.CONNECTING, Phase.GREETING, Phase.DISMISSED, Phase.OPEN, Phase.DROPPING):
            assert self.link is not None

    @invariant()
    def nothing_is_left_when_stopped_is_delivered(self):
        if self.state.phase in (Phase.STOPPED, Phase.CLOSED, Phase.IDLE):
            assert self.link is None
            assert self.due is None

    @invariant()
    def closing_is_bounded(self):
        if self.closing_since is not None and not (self.link and self.link.is_aborted):
            assert self.time - self.closing_since <= 4.0

    def teardown(self):
        if not hasattr(self, "state"):
            return
        self.feed(Shutdown())
        for _ in range(20):
            if self.link is not None and self.link.is_aborted:
                self.lose(retryable=True, known=False)
            elif self.undelivered:
                self.deliver()
            elif self.due is not None:
                self.elapse()
        assert self.state.phase in (Phase.IDLE, Phase.CLOSED)
        assert all(session.stopped is not None for session in self.journal.sessions)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=150, stateful_step_count=60)
