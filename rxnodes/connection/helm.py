"""A connection that is steered from outside: what the worker of a fleet does to it, and what it is asked before.

The machine is the same as everywhere. What differs is who starts it, with which numbers, that each dial waits for a
word, and that a `Stopped` does.
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
    """What a connection is steered by, on its driver. It is also what the driver asks where it is steered.

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
        # Whether the leaving of the project is cut short: then nothing is waited for.
        self._is_cut = False
        self._dial: HeldDial | None = None
        # What is to be told from the moment at which a session is over until its Stopped may be told.
        self._withheld: list[ConnectionState | LifecycleEvent] | None = None
        driver.publisher.publish_holding(self.is_held)

    # What it is asked to do

    def hold(self) -> None:
        """From here on the connection is held here."""
        self.is_held = True
        self._tell_held()

    def let_go(self) -> None:
        """From here on it is not."""
        self.is_held = False
        self._tell_held()

    def _tell_held(self) -> None:
        self._driver.outbox.send(self._driver.publisher.publish_holding, self.is_held)

    def begin(self, session: int) -> None:
        """Begins the session of that number, behind what is being told."""
        self._driver.outbox.send(self._begin, session)

    def _begin(self, session: int) -> None:
        if not (self._driver.state.is_shut_down or self._driver.loop.is_left):
            state = self._driver.state.copy()
            # The machine counts on from here.
            state.session = session - 1
            self._driver.state = state
            self._driver.feed(Start())

    def stop(self, code: int, reason: str) -> None:
        """Begins to end the live session."""
        self._driver.feed(Stop(code, reason))

    def abort(self) -> None:
        """Ends the live session without ceremony."""
        self._driver.feed(Abort())

    def tell(self, stopped: Stopped) -> None:
        """Tells the `Stopped` of a session that another had begun, behind what is being told."""
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
        """What has happened elsewhere, if anything."""
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
        """Says what became of a message that was sent through the steering."""
        self._driver.outbound.settle_elsewhere(receipt, outcome)

    # What users and the project ask for

    @property
    def is_awaited(self) -> bool:
        """Whether a session counts as live for those who wait here, though none is live at this connection.

        While a `Stopped` is being delivered, what is to come behind it does not count yet, as with any connection.
        """
        state = self._driver.state
        is_over = state.is_shut_down or self._driver.loop.is_left or state.phase is Phase.STOPPED
        return self._steering.is_live and not is_over

    def find_out(self) -> None:
        """Somebody waits for how the connection stands."""
        if not (self._driver.state.is_shut_down or self._driver.loop.is_left):
            self._steering.find_out()

    def obey(self, input_: Input) -> None:
        """Takes what is asked for here. Once the project has been left, that does nothing."""
        is_left = self._driver.loop.is_left or self._driver.loop.why_closed() is not None
        if isinstance(input_, Start | Stop | Abort | Shutdown) and not is_left:
            self._command(input_)
        else:
            self._driver.feed(input_)

    def _command(self, command: Start | Stop | Abort | Shutdown) -> None:
        steering = self._steering
        if isinstance(command, Start):
            # On Stop may start again what ends because the project is being left.
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
        """The project aborts what is live here. If it is being left, nobody waits for more than the end itself."""
        self._is_cut = self._driver.state.is_shut_down
        self.abort()
        if self._is_cut and self._withheld is not None:
            self._release(self._withheld, None)

    def send(self, receipt: Receipt) -> None:
        """Takes a message that cannot go out here, because the connection is not held here."""
        self._steering.send(receipt)

    # What it asks the steering before

    def hold_dial(self, dial: Dial, sink: AttemptSink, begin: Callable[[], None]) -> HeldDial:
        """Holds an attempt back until its time has come and its `Connecting` was taken; then calls `begin`."""

        def begin_in_time() -> None:
            # So that `connect_timeout` is not used up by the waiting.
            self._driver.feed(Postponed(dial.session, dial.attempt, 0.0))
            begin()

        self._dial = held = HeldDial(dial, sink, begin_in_time)
        return held

    def publish(self, event: ConnectionState | LifecycleEvent) -> None:
        """Tells one notification in its turn: the steering first, then all; a `Stopped` when it may be told."""
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
        """Tells what was withheld; nothing, if that was done already."""
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
        """The session is another's to end. Nobody is told its `Stopped` here, but those who wait are answered."""
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
    """An attempt that has no link yet: its time has not come, or its `Connecting` was not taken.

    Args:
        dial: The attempt, and when its time comes.
        sink: Told that the attempt is over, where it is given up before that.
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
