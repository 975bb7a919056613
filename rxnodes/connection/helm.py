"""A connection that is steered from outside, as by the worker of a fleet.

The machine is the same as everywhere. But the worker starts it and numbers its sessions, and each dial and each
`Stopped` waits for the worker's permission.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rxnodes.connection.before_connect import HeldBack
from rxnodes.errors import HolderLost
from rxnodes.lifecycle.events import Connecting, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.inputs import Abort, Postponed, Reported, Shutdown, Start, Stop
from rxnodes.lifecycle.machine import Phase, State
from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.attempt_sink import AttemptSink
    from rxnodes.connection.driver import Driver
    from rxnodes.connection.protocols import Steering
    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.events import ErrorPhase
    from rxnodes.lifecycle.inputs import Dial, Input
    from rxnodes.transport.receipts import Receipt, SharedOutcome

__all__ = ["DriverHelm"]


class DriverHelm:
    """The `Helm` of a connection. Its driver hands commands and notifications to it as well.

    Args:
        driver: The connection's driver.
        steering: What steers it.

    Attributes:
        is_held: Whether the connection is held here.
    """

    __slots__ = ("_dial", "_driver", "_is_cut", "_steering", "_withheld", "is_held")

    def __init__(self, driver: Driver, steering: Steering) -> None:
        self._driver = driver
        self._steering = steering
        self.is_held = False
        # Whether the project is being left and was told to abort: then a `Stopped` waits for nobody.
        self._is_cut = False
        self._dial: HeldDial | None = None
        # From the end of a session until its `Stopped` is released, the notifications that wait behind it.
        self._withheld: list[ConnectionState | LifecycleEvent] | None = None
        driver.publisher.publish_holding(self.is_held)

    # What the steering calls

    def hold(self) -> None:
        """The connection is held here from now on."""
        self.is_held = True
        self._tell_held()

    def let_go(self) -> None:
        """The connection is not held here any more."""
        self.is_held = False
        self._tell_held()

    def _tell_held(self) -> None:
        self._driver.outbox.send(self._driver.publisher.publish_holding, self.is_held)

    def begin(self, session: int) -> None:
        """Begins the session of that number, behind the notifications under way."""
        self._driver.outbox.send(self._begin, session)

    def _begin(self, session: int) -> None:
        if not (self._driver.state.is_shut_down or self._driver.loop.is_left):
            state = self._driver.state.copy()
            # The machine adds one.
            state.session = session - 1
            self._driver.state = state
            self._driver.feed(Start())

    def stop(self, code: int, reason: str) -> None:
        """Begins to end the live session."""
        self._driver.feed(Stop(code, reason))

    def abort(self) -> None:
        """Ends the live session without a closing handshake."""
        self._driver.feed(Abort())

    def tell(self, stopped: Stopped) -> None:
        """Publishes the `Stopped` of a session that another worker began, behind the notifications under way."""
        self._driver.outbox.send(self._tell, stopped)

    def _tell(self, stopped: Stopped) -> None:
        before = self._driver.state
        # As if the session had ended here.
        self._driver.state = State(
            profile=before.profile,
            phase=Phase.STOPPED,
            is_shut_down=before.is_shut_down,
            timer=before.timer,
            failed_sessions=before.failed_sessions,
            not_before=before.not_before,
            session=stopped.session,
            attempt=stopped.attempt,
        )
        if before.phase.state is not ConnectionState.CLOSED:
            self._driver.publisher.publish(ConnectionState.CLOSED)
        self._driver.publisher.publish(stopped)

    def note(self, event: Opened | Stopped | None = None) -> None:
        """Answers programs that wait for an event which has happened in another process."""
        waiters = self._driver.waiters
        if isinstance(event, Opened):
            if waiters.last_opened is None or event.session >= waiters.last_opened.session:
                waiters.last_opened = event
        elif event is not None and event.session >= waiters.ended_session:
            waiters.last_stopped = event
        self._driver.outbox.send(self._driver.publisher.answer_waiting, waiters.last_stopped)

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`."""
        self._driver.feed(Reported(phase, error))

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Gives the outcome of a message that was sent through the steering."""
        self._driver.outbound.settle_elsewhere(receipt, outcome)

    # What the driver and its parts call

    @property
    def is_awaited(self) -> bool:
        """Whether a session counts as live for programs that wait here, though none is live at this connection.

        While a `Stopped` is being delivered, a session behind it does not count yet, as with any connection.
        """
        state = self._driver.state
        is_over = state.is_shut_down or self._driver.loop.is_left or state.phase is Phase.STOPPED
        return self._steering.is_live and not is_over

    def find_out(self) -> None:
        """Finds out how the connection stands, for a program that waits."""
        if not (self._driver.state.is_shut_down or self._driver.loop.is_left):
            self._steering.find_out()

    def obey(self, input_: Input) -> None:
        """Takes a command of a program in this process. Once the project has been left, it does nothing."""
        is_left = self._driver.loop.is_left or self._driver.loop.why_closed() is not None
        if isinstance(input_, Start | Stop | Abort | Shutdown) and not is_left:
            self._command(input_)
        else:
            self._driver.feed(input_)

    def _command(self, command: Start | Stop | Abort | Shutdown) -> None:
        steering = self._steering
        if isinstance(command, Start):
            # On Stop may start a connection again that ends because the project is being left.
            if not self._driver.state.is_shut_down:
                steering.start()
        elif isinstance(command, Stop):
            steering.stop(command.code, command.reason)
        elif isinstance(command, Shutdown):
            steering.shutdown()
            self._driver.feed(command)
        elif self._driver.state.is_live:
            self.abort()
        else:
            steering.abort()

    def cut_short(self) -> None:
        """Aborts the session that is live here. If the project is being left, its `Stopped` waits for nobody."""
        self._is_cut = self._driver.state.is_shut_down
        self.abort()
        if self._is_cut and self._withheld is not None:
            self._release(self._withheld, None)

    def send(self, receipt: Receipt) -> None:
        """Takes a message that cannot go out here, because the connection is not held here."""
        self._steering.send(receipt)

    # What waits for the steering

    def hold_dial(self, dial: Dial, sink: AttemptSink, begin: Callable[[], None]) -> HeldDial:
        """Holds an attempt back until its time has come and the steering permits it; then calls `begin`."""

        def begin_in_time() -> None:
            # So that the waiting does not use `connect_timeout` up.
            self._driver.feed(Postponed(dial.session, dial.attempt, 0.0))
            begin()

        self._dial = held = HeldDial(dial, sink, begin_in_time)
        return held

    def publish(self, event: ConnectionState | LifecycleEvent) -> None:
        """Gives a notification to the steering, and then to all subscribers; a `Stopped` once it is released."""
        if event is ConnectionState.CLOSED:
            # Its Stopped comes right behind it.
            self._withheld = []
        withheld = self._withheld
        if withheld is not None:
            withheld.append(event)
            if isinstance(event, Stopped):
                self._steering.before_stopped(event, partial(self._release, withheld))
                if self._is_cut:
                    self._release(withheld, None)
            return
        if isinstance(event, Connecting):
            self._steering.before_dial(event, partial(self._go, event.session, event.attempt))
        elif isinstance(event, LifecycleEvent):
            self._steering.saw(event)
        self._driver.publisher.publish(event)

    def _go(self, session: int, attempt: int) -> None:
        if self._dial is not None and self._dial.is_of(session, attempt):
            dial, self._dial = self._dial, None
            dial.go()

    def _release(self, withheld: list[ConnectionState | LifecycleEvent], told: Stopped | None) -> None:
        """Publishes the notifications that were withheld, unless that is done already."""
        if self._withheld is not withheld:
            return
        self._withheld = None
        driver = self._driver
        closed, stopped, *later = withheld
        assert isinstance(stopped, Stopped)
        driver.outbox.post(driver.publisher.publish, closed)
        if told is None:
            driver.outbox.post(self._tell_lost, stopped)
        else:
            driver.outbox.post(driver.publisher.publish, told)
        for event in later:
            driver.outbox.post(self.publish, event)
        driver.outbox.flush()

    def _tell_lost(self, stopped: Stopped) -> None:
        """Answers programs that wait for a session which is another worker's to end. Its `Stopped` is not published."""
        driver = self._driver
        error = HolderLost(f"{stopped.connection!r}: this worker does not hold the connection any more")
        driver.publisher.publish(
            ErrorEvent(
                connection=stopped.connection,
                session=stopped.session,
                attempt=stopped.attempt,
                at=driver.loop.now(),
                phase="close",
                message=str(error),
                error=error,
            )
        )
        driver.publisher.end(
            replace(
                stopped,
                code=int(CloseCode.ABNORMAL_CLOSURE),
                reason="",
                was_clean=False,
                initiator=Initiator.NETWORK,
                error=error,
            )
        )


class HeldDial(HeldBack):
    """An attempt that has no link yet, because its time has not come, or the steering has not permitted it.

    Args:
        dial: The attempt, and when its time comes.
        sink: The attempt's sink. If the attempt is given up before, its `lost` is called.
        begin: Called when both has happened; from then on the attempt is another's.
    """

    def __init__(self, dial: Dial, sink: AttemptSink, begin: Callable[[], None]) -> None:
        self._numbers = (dial.session, dial.attempt)
        self._begin = begin
        self._is_due = dial.delay <= 0
        self._may_go = False
        self._is_over = False
        super().__init__(dial.delay, sink, self._on_due)

    def is_of(self, session: int, attempt: int) -> bool:
        """Whether it is that attempt."""
        return self._numbers == (session, attempt)

    def go(self) -> None:
        """The attempt may dial."""
        self._may_go = True
        self._begin_when_ready()

    def _on_due(self) -> None:
        self._is_due = True
        self._begin_when_ready()

    def _begin_when_ready(self) -> None:
        if self._is_due and self._may_go and not self._is_over:
            self._is_over = True
            self._begin()

    def abort(self) -> None:
        """Gives the attempt up."""
        self._is_over = True
        super().abort()
