"""The parts of a connection that is elsewhere: the same as of one here, and what they need of what drives them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rxnodes.connection.parts import Parts, Steered
from rxnodes.fleet.remote.standing import Standing
from rxnodes.lifecycle.events import ErrorEvent
from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import Phase
from rxnodes.transport.receipts import SendQueue

if TYPE_CHECKING:
    from datetime import datetime

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


class RemoteParts(Parts[NotHere, Steered]):
    """Brings together the parts of a connection that is elsewhere. All of it on the loop's thread.

    Args:
        name: The connection's name.

    Attributes:
        standing: How the connection stands.
        is_known: Whether the end of the log has been read. Before that the connection counts as live.
    """

    def __init__(self, name: str) -> None:
        self.standing = Standing()
        self.is_known = False
        super().__init__(name, _NOT_HERE, SendQueue(), owner="fleet", note_observed=self._note_observed)
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

    def look_at_interest(self) -> None:
        """Somebody has subscribed to the messages, or nobody does any more."""
        raise NotImplementedError

    # What the parts ask

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
