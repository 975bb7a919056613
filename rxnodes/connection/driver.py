"""The driver of a connection: it feeds the machine, and carries out the machine's effects on the transport."""

from __future__ import annotations

import logging
import operator
import random
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from rxnodes.connection.attempt_sink import AttemptSink
from rxnodes.connection.before_connect import Attempt, HeldBack
from rxnodes.connection.helm import DriverHelm
from rxnodes.connection.logging_in import LoggingIn
from rxnodes.connection.outbound import OPEN
from rxnodes.connection.parts import Parts
from rxnodes.errors import ConnectError, ConnectionLost
from rxnodes.lifecycle.events import Opened, Traffic
from rxnodes.lifecycle.inputs import (
    AbortLink,
    BeginLogin,
    CancelLogin,
    CancelTimer,
    CloseNow,
    Dial,
    Discarded,
    Effect,
    Elapsed,
    Input,
    Lost,
    Now,
    Postponed,
    Reported,
    SendClose,
    SetTimer,
    Shutdown,
    Stop,
)
from rxnodes.lifecycle.machine import OPENING, Profile, State, step
from rxnodes.lifecycle.states import ConnectionState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rxnodes.connection.before_connect import Preparation
    from rxnodes.connection.greeting import Login
    from rxnodes.connection.hook_task import HookTask
    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.policy import Policy
    from rxnodes.transport.base import Link, Target, Transport
    from rxnodes.transport.receipts import Receipt

__all__ = ["Driver"]

logger = logging.getLogger("rxnodes")


class Driver(Parts[State, DriverHelm]):
    """Brings together the machine, the transport, and the parts of a connection. All of it on the loop's thread.

    An input steps the machine at once, so that the state is true when a command returns. The machine's events join the
    outbox, and are published in their turn.

    Args:
        name: The connection's name.
        target: Where to dial.
        policy: The bounds of a session.
        transport: Dials.
        preparation: What is done before each dial.
        login: How each attempt logs in before it is open.

    Attributes:
        timer: The machine's timer, while it runs.
    """

    __slots__ = (
        *("_inputs", "_login", "_preparation", "_preparing", "_sink", "_target", "_transport"),
        "timer",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - a connection is put together from these
        self,
        name: str,
        target: Target,
        policy: Policy,
        transport: Transport,
        preparation: Preparation | None,
        login: Login | None,
    ) -> None:
        profile = Profile(name=name, url=target.redacted_url, policy=policy, logs_in=login is not None)
        super().__init__(name, State(profile=profile), target.send_queue)
        self._target = target
        self._transport = transport
        self._preparation = preparation
        self._login = login
        self._inputs: list[Input] = []
        self.timer: asyncio.TimerHandle | None = None
        # Of the attempt: the sink of its link, and before there is a link, what the dial waits for.
        self._sink: AttemptSink | None = None
        self._preparing: HeldBack | HookTask[Target] | None = None

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet."""
        helm = self.helm
        return self.state.session > self.waiters.ended_session or (helm is not None and helm.is_awaited)

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """The number of the live or last session, and what it has carried so far. It may be read from any thread.

        In another thread, the traffic of the last attempt may be missing for a moment while that attempt ends. It is
        never counted twice, because the state, which takes it over, is read first.
        """
        state, sink, link = self.state, self._sink, self.link
        if sink is None or link is None:
            return state.session, state.traffic
        return state.session, state.traffic.plus(sink.beyond_login(link.traffic))

    # The machine

    def ask(self, input_: Input) -> None:
        """Feeds a command on the loop's thread; where the connection is steered from outside, the helm decides."""
        self.loop.run(partial(self.feed if self.helm is None else self.helm.obey, input_))

    def feed(self, input_: Input) -> None:
        """Steps the machine at once. Its events are delivered in their turn.

        Carrying an effect out may bring another input. That one comes next, so that no step begins within another.
        """
        if self.loop.is_left or self.loop.why_closed():
            if isinstance(input_, Reported):
                logger.warning("%s: %s", self.name, input_.error)
            return
        self._inputs.append(input_)
        if self.is_stepping:
            return
        self.is_stepping = True
        begun = 0
        try:
            # Including those that come meanwhile. Taking them out one by one would move a long list each time.
            for one in self._inputs:
                begun += 1
                self._step(one)
        finally:
            del self._inputs[:begun]
            self.is_stepping = False
        self.outbox.flush()

    def _step(self, input_: Input) -> None:
        outbound = self.outbound
        if outbound.backlog is not None and isinstance(input_, Stop | Shutdown):
            # A subscriber to `Opened` may stop before the backlog has had its turn.
            outbound.send_backlog()
        now = self._now()
        was_open = self.state.phase is OPEN
        after, effects, events = step(self.state, input_, now)
        if outbound.backlog is not None and after.phase not in OPENING and after.phase is not OPEN:
            # `Stopped` must count the messages that are given up here. The machine is pure, so it can step again.
            outbound.abandon_backlog()
            after, effects, events = step(self.state, input_, now)
        self.state = after
        publish = self.publisher.publish if self.helm is None else self.helm.publish
        for event in events:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s: %s", self.name, event)
            self.outbox.post(publish, event)
            if isinstance(event, Opened):
                assert self._sink is not None
                self._sink.open_to_all()
        for effect in effects:
            self._perform(effect)
        if outbound.backlog is not None and after.phase is OPEN and not was_open:
            # Behind messages that subscribers to `Opened` send, such as a login.
            self.outbox.post(outbound.send_backlog, None)

    def count_discarded(self, count: int) -> None:
        """Counts messages that no link ever had as unsent.

        It changes nothing but the count, so it need not wait behind another input.
        """
        self.state = step(self.state, Discarded(count), self._now()).state

    def _now(self) -> Now:
        assert self.loop.loop is not None
        return Now(self.loop.now(), self.loop.loop.time(), random.random())  # noqa: S311 - jitter is no secret

    # Its effects

    def _perform(self, effect: Effect) -> None:
        # The commonest first; matching patterns took three times as long.
        if isinstance(effect, SetTimer):
            self._set_timer(effect)
        elif isinstance(effect, CancelTimer):
            self._cancel_timer()
        elif isinstance(effect, Dial):
            self._begin_attempt(effect)
        else:
            self._order(effect)

    def _order(self, effect: BeginLogin | CancelLogin | SendClose | CloseNow | AbortLink) -> None:
        if isinstance(effect, SendClose):
            self._tell_link(lambda link: link.close(effect.code, effect.reason))
        elif isinstance(effect, CloseNow):
            self._tell_link(lambda link: link.close_now(effect.code, effect.reason))
        elif isinstance(effect, BeginLogin):
            assert self._sink is not None
            self._sink.log_in(effect.handshake)
        else:
            self._abort(is_login_alone=isinstance(effect, CancelLogin))

    def _abort(self, *, is_login_alone: bool) -> None:
        """Ends the attempt, or its login, without ceremony."""
        if not is_login_alone:
            self._tell_link(lambda link: link.abort())
            if self._preparing is not None:
                self._preparing.abort()
        if self._sink is not None:
            self._sink.cancel_login()

    def _set_timer(self, effect: SetTimer) -> None:
        self._cancel_timer()
        assert self.loop.loop is not None
        self.timer = self.loop.loop.call_later(effect.delay, self._on_timer, effect.timer)

    def _on_timer(self, timer: int) -> None:
        self.timer = None
        judge: Callable[[], object] = partial(self.feed, Elapsed(timer))
        if self._sink is not None:
            judge = partial(self._sink.catch_up, judge)
        if self.link is None:
            judge()
        else:
            self._tell_link(lambda link: link.catch_up(judge))

    def _cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # The attempt

    def _begin_attempt(self, dial: Dial) -> None:
        attempt = Attempt(connection=self.name, session=dial.session, attempt=dial.attempt, error=dial.last_error)
        login = None if self._login is None else LoggingIn(self._login, attempt, self)
        self._sink = sink = AttemptSink(self, dial.session, dial.attempt, login)
        begin = partial(self._prepare, sink, dial, attempt)
        if dial.delay > 0:
            logger.info("%s: the dial waits %.3g s, since the sessions before failed", self.name, dial.delay)
        if self.helm is not None:
            self._preparing = self.helm.hold_dial(dial, sink, begin)
        elif dial.delay > 0:
            self._preparing = HeldBack(dial.delay, sink, begin)
        else:
            begin()

    def _prepare(self, sink: AttemptSink, dial: Dial, attempt: Attempt) -> None:
        """Dials, once the hook has answered if there is one."""
        if self._preparation is None:
            self._dial(sink, self._target)
            return
        self._preparing = self._preparation.begin(
            attempt,
            sink,
            partial(self._dial, sink),
            lambda delay: self.feed(Postponed(dial.session, dial.attempt, delay)),
        )

    def _dial(self, sink: AttemptSink, target: Target) -> None:
        """Lets the transport dial. If that raises, the attempt has failed."""
        self._preparing = None
        try:
            self.link = _check_link(self._transport.dial(target, sink))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the session has to end
            self._on_transport_failure(sink, "dial", error)
            return
        if sink.is_held(by_consumers=self.pause_control.is_paused):
            self._tell_link(lambda link: link.pause_reading())

    def on_send_failure(self, receipt: Receipt, error: BaseException) -> None:
        """The link has raised at a message."""
        # The loop may be closed, and the project not left. `send` does not check that, because it is the hot path.
        self.loop.check()
        assert self._sink is not None
        self._sink.stranded += (receipt,)
        self._on_transport_failure(self._sink, "link", error)

    def _tell_link(self, tell: Callable[[Link], None]) -> None:
        """Calls the link, if there is one. A link that raises breaks its contract, and the attempt ends."""
        link, sink = self.link, self._sink
        if link is None or sink is None:
            return
        try:
            tell(link)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the attempt has to end
            self._on_transport_failure(sink, "link", error)

    def _on_transport_failure(self, sink: AttemptSink, what: str, error: BaseException) -> None:
        """Ends the attempt, because the transport has broken its contract. What else the transport says is ignored."""
        assert self.loop.loop is not None
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.loop.raise_soon(error)
        if sink is not self._sink or sink.failure is not None:
            # It is at its end already.
            return
        logger.error("%s: the transport failed, its %s raised", self.name, what, exc_info=error)
        sink.failure = _failure_of(what, error, self.state.phase.state)
        self._tell_link(lambda link: link.abort())
        # In another turn of the loop, behind what the link itself may say of its end.
        self.loop.loop.call_soon(sink.lost, None, Traffic())

    def on_pause(self, is_paused: bool) -> None:  # noqa: ARG002, FBT001 - what a pause control calls
        """A consumer pauses the source, or the last one that did resumes it."""
        self.read_or_not()

    def read_or_not(self) -> None:
        """Lets the link read, or pauses it, as consumers or the login ask."""
        if self._sink is not None:
            is_held = self._sink.is_held(by_consumers=self.pause_control.is_paused)
            self._tell_link(lambda link: link.pause_reading() if is_held else link.resume_reading())

    # The end of the link

    def on_link_gone(self) -> None:
        """The link of the current attempt is gone; its login is not."""
        self.link = None

    def on_lost(self, loss: Callable[[], Lost]) -> None:
        """Nothing is left of the current attempt. `loss` is called behind its messages, because it counts them."""
        self._sink = self.link = self._preparing = None
        self.behind_messages(lambda: self.feed(loss()))

    def behind_messages(self, act: Callable[[], None]) -> None:
        """Calls `act`, which ends an attempt, behind those of its messages that are still being delivered.

        So the connection is still open for a subscriber that answers a message, as it was when the message came.
        """
        if self.outbox.is_put_off:
            self.outbox.post(operator.call, act)
        else:
            act()


def _check_link(link: Link) -> Link:
    """Refuses what could not even be told to end, such as the coroutine of a `dial` that is a coroutine function."""
    if not hasattr(link, "abort"):
        raise TypeError(f"dial gave {type(link).__name__}, not a link")
    return link


def _failure_of(what: str, error: BaseException, state: ConnectionState) -> RxNodesError:
    """Why an attempt ends in which the transport's `what` has raised `error`."""
    if isinstance(error, ConnectError):
        # Without its traceback, which would keep the attempt alive.
        return copy(error)
    says = f"the transport failed, its {what} raised {type(error).__name__}: the log has more"
    return ConnectError(says, retryable=False) if state is ConnectionState.CONNECTING else ConnectionLost(says)
