"""`reconnect` of a connection."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

from dataclasses import replace
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from rxnodes.lifecycle.policy import FINAL_CODES, FINAL_STATUSES, ReconnectPolicy
from rxnodes.websocket.settings.fields import Number, NumberOrRange, Seconds, Settings, numbers_in

__all__ = ["ReconnectSettings"]


class ReconnectSettings(Settings):
    """When another attempt follows after the network or the peer ended a connection.

    Attributes:
        enabled: Whether anything is retried at all.
        initial_delay: The bound of the first delay, in seconds, from 0.001 to one day.
        max_delay: The longest bound, in seconds, from `initial_delay` to one day.
        factor: By how much the bound grows from one retry to the next, from 1 to 100.
        jitter: Whether a delay is drawn at random between 0 and its bound; if not, it is the bound.
        max_attempts: How many attempts in a row may fail, from 1 to 1,000,000; `None`: no limit.
        reset_after: After so many seconds open, the next failure counts as the first again; from 0.001 to one day.
        final_codes: Close codes of the peer that are not retried: numbers from 1000 to 4999, and ranges of them such as
            `"4400-4499"`.
        final_statuses: HTTP statuses of a refusal that are not retried: numbers from 100 to 599, and ranges of them
            such as `"400-499"`.
        retry_certificates: Whether to retry if the server's certificate is not trusted; useful where a clock may not be
            set yet.
        retry_after: Whether the server's `Retry-After` is the least delay; an hour at most.
    """

    enabled: bool = False
    initial_delay: Seconds = 0.5
    max_delay: Seconds = Field(default=30.0, validate_default=True)
    factor: Annotated[float, BeforeValidator(Number(1, 100))] = 2.0
    jitter: bool = True
    max_attempts: Annotated[int | None, BeforeValidator(Number(1, 1_000_000, whole=True, optional=True))] = None
    reset_after: Seconds = 30.0
    final_codes: frozenset[Annotated[int | str, BeforeValidator(NumberOrRange(1000, 4999, "4400-4499"))]] = FINAL_CODES
    final_statuses: frozenset[Annotated[int | str, BeforeValidator(NumberOrRange(100, 599, "400-499"))]] = (
        FINAL_STATUSES
    )
    retry_certificates: bool = False
    retry_after: bool = True

    @field_validator("max_delay")
    @classmethod
    def _not_below_the_first(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial_delay", value):
            raise ValueError("must not be less than initial_delay")
        return value

    def policy(self) -> ReconnectPolicy:
        """These settings, as the lifecycle takes them."""
        return replace(
            ReconnectPolicy(**dict(self)),
            final_codes=numbers_in(self.final_codes),
            final_statuses=numbers_in(self.final_statuses),
        )
