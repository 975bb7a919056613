"""What the parts of a connection need of what drives them: the driver here, or one that follows a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.inbound import Inbound
    from rxnodes.connection.outbound import Outbound
    from rxnodes.connection.own_loop import OwnLoop
    from rxnodes.connection.publisher import Publisher
    from rxnodes.connection.waiters import Waiters
    from rxnodes.errors import DecodeError
    from rxnodes.lifecycle.inputs import Input
    from rxnodes.lifecycle.machine import Phase
    from rxnodes.rx.outbox import Outbox
    from rxnodes.transport.base import Link
    from rxnodes.transport.receipts import Receipt

__all__ = ["Driving", "DrivingNodes"]


class Standing(Protocol):
    """How a connection stands here."""

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        ...

    @property
    def session(self) -> int:
        """The number of the live or last session."""
        ...

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether a session is under way here."""
        ...


class Steered(Protocol):
    """What a connection is steered by, as far as messages and those who wait ask for it."""

    @property
    def is_held(self) -> bool:
        """Whether the connection is held here."""
        ...

    @property
    def is_awaited(self) -> bool:
        """Whether a session counts as live for those who wait here, though none is live at this connection."""
        ...

    def find_out(self) -> None:
        """Somebody waits for how the connection stands. Until that is known here it counts as live."""
        ...

    def send(self, receipt: Receipt) -> None:
        """Takes a message that cannot go out here, because the connection is not held here."""
        ...


class Driving(Protocol):
    """What drives a connection, as its parts see it."""

    @property
    def session(self) -> int:
        """The number of the live or last session."""
        ...

    @property
    def state(self) -> Standing:
        """How the connection stands here."""
        ...

    @property
    def link(self) -> Link | None:
        """The attempt's link, from the dial to its end."""
        ...

    @property
    def helm(self) -> Steered | None:
        """Where the connection is steered from outside, what by; `None`: it is not."""
        ...

    @property
    def is_stepping(self) -> bool:
        """Whether an input is being worked off."""
        ...

    def feed(self, input_: Input) -> None:
        """Takes an input."""
        ...

    def on_send_failure(self, receipt: Receipt, error: BaseException) -> None:
        """The link has raised at a message."""
        ...

    def count_discarded(self, count: int) -> None:
        """Counts messages that no link ever had as unsent."""
        ...

    def refuse(self, error: DecodeError) -> None:
        """Reports a message that cannot be shown as it was asked for."""
        ...


class DrivingNodes(Driving, Protocol):
    """What drives a connection, as the side sees it that nodes are given."""

    loop: OwnLoop
    outbox: Outbox
    publisher: Publisher
    inbound: Inbound
    outbound: Outbound

    @property
    def waiters(self) -> Waiters:
        """Those who wait for it to open or to end."""
        ...

    @property
    def pulse_observers(self) -> list[Callable[[str], object]]:
        """Those who are told of the pulses of its action nodes."""
        ...

    def command(self, input_: Input) -> None:
        """Takes what a user asks for, from any thread."""
        ...
