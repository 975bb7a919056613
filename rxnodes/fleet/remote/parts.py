"""The parts of a connection that is elsewhere: the same as of one here, and what they need of what drives them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rxnodes.connection.parts import Parts, Steered
from rxnodes.lifecycle.events import ErrorEvent
from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import Phase
from rxnodes.transport.receipts import SendQueue

if TYPE_CHECKING:
    from datetime import datetime

    from rxnodes.fleet.rules.values import Tail
    from rxnodes.lifecycle.inputs import Input
    from rxnodes.transport.receipts import Receipt, SharedOutcome

__all__ = ["RemoteParts"]

logger = logging.getLogger("rxnodes")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How a connection stands that is not here, as far as the sending of messages asks for it."""

    phase: Phase = Phase.IDLE
    session: int = 0
    attempt: int = 0
    is_live: bool = False


_ELSEWHERE: Final = Elsewhere()


class RemoteParts(Parts[Elsewhere, Steered]):
    """Brings together the parts of a connection that is elsewhere. All of it on the loop's thread.

    Args:
        name: The connection's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, _ELSEWHERE, SendQueue(), owner="fleet", note_observed=self._note_observed)
        # Some worker holds it, which this is none of.
        self.publisher.publish_holding(False)  # noqa: FBT003 - the one value there is

    # What a connection is that follows a fleet

    @property
    def session(self) -> int:
        """The number of the session that is wished, live or last."""
        raise NotImplementedError

    @property
    def tail(self) -> Tail:
        """The end of the log, as far as it has been told."""
        raise NotImplementedError

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
        tail = self.tail
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
