"""The parts of a connection that is elsewhere: the same as of one here, and what they need of what drives them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Final

from rxnodes.connection.inbound import Inbound
from rxnodes.connection.outbound import Outbound
from rxnodes.connection.own_loop import OwnLoop
from rxnodes.connection.parts import Parts
from rxnodes.connection.publisher import Publisher
from rxnodes.connection.waiters import Waiters
from rxnodes.fleet.remote.standing import Standing
from rxnodes.lifecycle.events import ErrorEvent
from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import Phase
from rxnodes.rx.backpressure import PauseControl
from rxnodes.rx.outbox import Outbox
from rxnodes.transport.receipts import SendQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rxnodes.connection.driving import Steered
    from rxnodes.errors import DecodeError
    from rxnodes.lifecycle.inputs import Input
    from rxnodes.transport.receipts import Receipt, SharedOutcome

__all__ = ["RemoteParts"]

logger = logging.getLogger("rxnodes")


@dataclass(frozen=True, slots=True)
class NotHere:
    """How a connection stands on this side that is never dialled here, as far as the sending of messages asks."""

    phase: Phase = Phase.IDLE
    session: int = 0
    attempt: int = 0
    is_live: bool = False


_NOT_HERE: Final = NotHere()


class RemoteParts(Parts):
    """Brings together the parts of a connection that is elsewhere. All of it on the loop's thread.

    Args:
        name: The connection's name.

    Attributes:
        name: The connection's name.
        standing: How the connection stands.
        is_known: Whether the end of the log has been read. Before that the connection counts as live.
        outbox: Keeps the order of notifications.
        pause_control: Closed by consumers that cannot keep up.
        helm: Sends its messages through their holder.
        pulse_observers: Called for each pulse of its action nodes.
    """

    helm: Steered

    def __init__(self, name: str) -> None:
        self.name = name
        self.standing = Standing()
        self.is_known = False
        # What the parts of a connection ask of what drives them: nothing of it is here.
        self.is_stepping = False
        self.link = None
        self.state = _NOT_HERE
        lock = RLock()
        self.loop = loop = OwnLoop(name, "fleet")
        self.pause_control = PauseControl(self.on_pause, loop.run)
        self.outbox = outbox = Outbox(self._on_pipeline_error, self.pause_control)
        self.waiters = RemoteWaiters(loop, self)
        self.publisher = Publisher(loop, outbox, self.waiters, self, lock)
        report = self.publisher.report
        self.inbound = Inbound(outbox, self.pause_control, self, report, lock, self._note_observed)
        self.outbound = Outbound(SendQueue(), self, loop, outbox, report, lock)
        self.pulse_observers: list[Callable[[str], object]] = []
        # Only workers hold connections.
        self.publisher.publish_holding(False)  # noqa: FBT003 - the one value there is

    # How the connection stands

    @property
    def session(self) -> int:
        """The number of the session that is wished, live or last."""
        return self.standing.session(self._ended)

    @property
    def is_live(self) -> bool:
        """Whether a session is live, or the log or the outcome of a command is not known yet."""
        return not self.is_known or self.standing.is_live(self._ended)

    @property
    def _ended(self) -> int:
        return self.waiters.ended_session

    # What else a driver has

    def on_pause(self, is_paused: bool) -> None:  # noqa: FBT001 - what a pause control calls
        """A consumer wants no more for now, or all of them want more again."""
        raise NotImplementedError

    def look_at_interest(self) -> None:
        """Somebody has subscribed to the messages, or nobody does any more."""
        raise NotImplementedError

    # What the parts ask

    def command(self, input_: Input) -> None:
        """Reports an error, from any thread."""
        self.loop.check()
        self.loop.run(partial(self.feed, input_))

    def feed(self, input_: Input) -> None:
        """Reports an error. Nothing else that the parts of a connection feed changes anything here."""
        if not isinstance(input_, Reported):
            return
        if self.loop.is_left or self.loop.why_closed():
            logger.warning("%s: %s", self.name, input_.error)
            return
        tail = self.standing.tail
        error = ErrorEvent(
            connection=self.name,
            session=tail.session if tail.is_live else 0,
            attempt=tail.attempt if tail.is_live else 0,
            at=self.loop.now(),
            phase=input_.phase,
            message=str(input_.error),
            error=input_.error,
        )
        self.outbox.post(self.publisher.publish, error)
        self.outbox.flush()

    def refuse(self, error: DecodeError) -> None:
        """Reports a message that cannot be shown as it was asked for."""
        self.feed(Reported("receive", error))

    def on_send_failure(self, receipt: Receipt, error: BaseException) -> None:
        """There is no link here that could fail."""
        raise NotImplementedError

    def count_discarded(self, count: int) -> None:
        """What is discarded here counts for no session."""

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Says what became of a message."""
        self.outbound.settle_elsewhere(receipt, outcome)

    def now(self) -> datetime:
        """The time of day."""
        return self.loop.now()

    def _note_observed(self) -> None:
        if self.loop.loop is not None and not self.loop.is_left:
            self.loop.run(self.look_at_interest)

    def _on_pipeline_error(self, error: Exception) -> None:
        self.publisher.on_pipeline_error(error)


class RemoteWaiters(Waiters):
    """Those who wait, where what counts as live is not known here alone."""

    __slots__ = ()

    _driver: RemoteParts

    def __init__(self, loop: OwnLoop, driver: RemoteParts) -> None:
        super().__init__(loop, driver)

    @property
    def is_live(self) -> bool:
        """Whether a session counts as live."""
        return self._driver.is_live
