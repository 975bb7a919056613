"""The parts of a connection, whether it is driven here or, in a fleet, by another process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from rxnodes.connection.inbound import Inbound
from rxnodes.connection.outbound import Outbound
from rxnodes.connection.own_loop import OwnLoop
from rxnodes.connection.publisher import Publisher
from rxnodes.connection.waiters import Waiters
from rxnodes.rx.backpressure import PauseControl
from rxnodes.rx.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.lifecycle.inputs import Input
    from rxnodes.lifecycle.machine import Phase
    from rxnodes.transport.base import Link
    from rxnodes.transport.receipts import Receipt, SendQueue

__all__ = ["AnyParts", "Parts", "Steered"]


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
    """What steers a connection from outside, as far as messages and waiting programs need it."""

    @property
    def is_held(self) -> bool:
        """Whether the connection is held here."""
        ...

    def find_out(self) -> None:
        """A program waits for how the connection stands. Until that is known here it counts as live."""
        ...

    def send(self, receipt: Receipt) -> None:
        """Takes a message that cannot go out here, because the connection is not held here."""
        ...


S_co = TypeVar("S_co", bound=Standing, covariant=True)
H_co = TypeVar("H_co", bound=Steered, covariant=True)


class Parts(Generic[S_co, H_co]):
    """The parts of a connection, and what they need of its driver, which is derived from this. On the loop's thread.

    The streams of all parts share one lock, that of `publisher.lifecycle`.

    Args:
        name: The connection's name.
        state: How the connection stands here at first.
        send_queue: The bounds of the messages that wait to be sent.
        owner: The word for what the connection belongs to, in error messages.
        note_observed: Called, in whatever thread, when a subscriber to messages has come or gone.

    Attributes:
        name: The connection's name.
        state: How the connection stands here.
        link: The attempt's link, from the dial to its end.
        helm: What steers the connection from outside; `None`: nothing does.
        is_stepping: Whether an input is being worked off.
        loop: The connection's loop.
        pause_control: Closed by consumers that cannot keep up.
        outbox: Keeps the order of notifications.
        waiters: Answers `wait_started` and `wait_stopped`.
        publisher: Publishes states and lifecycle events.
        inbound: Delivers messages that come.
        outbound: Sends messages.
    """

    __slots__ = (
        *("_pulse_observers", "helm", "inbound", "is_stepping", "link", "loop", "name", "outbound", "outbox"),
        *("pause_control", "publisher", "state", "waiters"),
    )

    state: S_co
    helm: H_co | None

    def __init__(
        self,
        name: str,
        state: S_co,
        send_queue: SendQueue,
        *,
        owner: str = "project",
        note_observed: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self.link: Link | None = None
        self.helm = None
        self.is_stepping = False
        self.loop = loop = OwnLoop(name, owner)
        self.pause_control = PauseControl(self.on_pause, loop.run)
        self.outbox = Outbox(self._on_pipeline_error, self.pause_control)
        self.waiters = Waiters(self)
        self.publisher = Publisher(self)
        self.inbound = Inbound(self, note_observed)
        self.outbound = Outbound(self, send_queue)
        self._pulse_observers: list[Callable[[str], object]] | None = None

    @property
    def pulse_observers(self) -> list[Callable[[str], object]]:
        """Called with an action node's name whenever it executes. Made late, as the streams are."""
        with self.publisher.lifecycle.lock:
            if self._pulse_observers is None:
                self._pulse_observers = []
            return self._pulse_observers

    def command(self, input_: Input) -> None:
        """Takes a command from any thread.

        Raises:
            RxNodesError: If nobody can carry it out.
        """
        self.loop.check()
        self.ask(input_)

    def ask(self, input_: Input) -> None:
        """Feeds a command on the loop's thread."""
        self.loop.run(partial(self.feed, input_))

    def leave(self) -> None:
        """Completes all streams: the end is for good, and no session is live any more."""
        self.loop.leave()
        self.publisher.complete()
        self.outbound.outcomes.on_completed()
        self.inbound.complete()
        self.waiters.wake()

    def disown(self) -> None:
        """Called in a forked process: from here on commands are refused, and anything else does nothing."""
        self.loop.disown()
        self.waiters.disown()

    def _on_pipeline_error(self, error: Exception) -> None:
        self.publisher.on_pipeline_error(error)

    # What each kind of driver does in its own way

    @property
    def is_live(self) -> bool:
        """Whether a session is under way, or its `Stopped` has not reached every subscriber yet."""
        raise NotImplementedError

    def feed(self, input_: Input) -> None:
        """Takes an input."""
        raise NotImplementedError

    def on_send_failure(self, receipt: Receipt, error: BaseException) -> None:
        """The link has raised at a message."""
        raise NotImplementedError

    def count_discarded(self, count: int) -> None:
        """Counts messages that no link ever had as unsent."""
        raise NotImplementedError

    def on_pause(self, is_paused: bool) -> None:  # noqa: FBT001 - what a pause control calls
        """A consumer pauses the source, or the last one that did resumes it."""
        raise NotImplementedError


#: As the parts see it.
AnyParts: TypeAlias = Parts[Standing, Steered]
