"""`send_queue` of a connection."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo, field_validator

from rxnodes.transport.receipts import QueueOverflow, SendQueue
from rxnodes.websocket.settings.fields import MIB, Number, SecondsOrNone, Settings

__all__ = ["SendQueueSettings"]


class SendQueueSettings(Settings):
    """The bounds of the messages that wait to be sent.

    Attributes:
        max_messages: How many messages may wait, from 1 to 100,000,000; `None`: as many as fit into `max_bytes`.
        max_bytes: How many bytes all of them may have, without framing, from 1 to 1 GiB.
        overflow: What happens to a message that does not fit: `"error"` refuses it, with an `ErrorEvent` of phase
            `send`; `"drop_newest"` refuses it, and only its receipt says so; `"drop_oldest"` gives up the messages that
            have waited longest.
        while_connecting: Whether a message that is sent while connecting or reconnecting waits for the connection to
            open. If not, it is refused, with an `ErrorEvent`.
        time_to_live: How long it waits for that, in seconds, from 0.001 to one day; `None`: to the end of the session.
    """

    max_messages: Annotated[int | None, BeforeValidator(Number(1, 100_000_000, whole=True, optional=True))] = 1_000_000
    max_bytes: Annotated[int, BeforeValidator(Number(1, 1024 * MIB, whole=True, unit="bytes"))] = 128 * MIB
    overflow: QueueOverflow = "error"
    while_connecting: bool = False
    time_to_live: SecondsOrNone = None

    @field_validator("time_to_live")
    @classmethod
    def _only_while_connecting(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("while_connecting") is False:
            raise ValueError("needs while_connecting = true")
        return value

    def queue(self) -> SendQueue:
        """These settings, as the connection takes them."""
        return SendQueue(**dict(self))
