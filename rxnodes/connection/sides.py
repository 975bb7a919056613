"""What nodes and the project see of a connection's driver.

`protocols` says what each member does. This module says which part of the driver does it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rxnodes.connection.helm import DriverHelm
from rxnodes.lifecycle.inputs import Abort, Reported, Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.driver import Driver
    from rxnodes.connection.parts import AnyParts
    from rxnodes.connection.protocols import Helm, Steering
    from rxnodes.errors import RxNodesError, SendError
    from rxnodes.lifecycle.events import ErrorPhase, LifecycleEvent, Stopped, Traffic
    from rxnodes.rx.streams import IsolatedBehaviorSubject, IsolatedSubject

__all__ = ["DriverForNodes", "DriverForProject"]


class DriverForNodes:
    """What nodes need of a connection, on its driver."""

    def __init__(self, driver: AnyParts) -> None:
        self._driver = driver
        self.batches = driver.inbound.batches
        self.values = driver.inbound.values
        self.now = driver.loop.now
        self.run_on_loop = driver.loop.run
        self.notify = driver.outbox.send
        self.shared = driver.inbound.shared
        self.on_handler_error = driver.publisher.report

    @property
    def ended(self) -> IsolatedSubject[Stopped | None]:
        """Emits when no session is live any more."""
        return self._driver.publisher.ended

    def find_out(self) -> None:
        """Finds out how the connection stands."""
        self._driver.loop.run(self._driver.waiters.find_out)

    @property
    def gaps(self) -> IsolatedSubject[LifecycleEvent]:
        """Gaps that the connection itself knows of."""
        return self._driver.publisher.gaps

    @property
    def holding(self) -> IsolatedBehaviorSubject[bool]:
        """Whether the connection is held here."""
        return self._driver.publisher.holding

    @property
    def texts(self) -> IsolatedSubject[str]:
        """Every message as `str`."""
        return self._driver.inbound.texts

    @property
    def binaries(self) -> IsolatedSubject[bytes]:
        """Every message as `bytes`."""
        return self._driver.inbound.binaries

    @property
    def pulse_observers(self) -> list[Callable[[str], object]]:
        """Called with the pulses of action nodes."""
        return self._driver.pulse_observers

    @property
    def send_observers(self) -> list[Callable[[list[str | bytes]], None]]:
        """Called with messages that have left."""
        return self._driver.outbound.ask_for_observers()

    @property
    def is_delivering(self) -> bool:
        """Whether a notification is being delivered."""
        return self._driver.outbox.is_delivering

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`."""
        self._driver.command(Reported(phase, error))

    def report_unwritten(self, error: SendError, tag: object) -> None:
        """Publishes the error that kept a message from being written."""
        self._driver.loop.check()
        self._driver.loop.run(partial(self._driver.outbound.drop_unwritten, error, tag))


class DriverForProject:
    """What the project, its scenes and telemetry need of a connection, on its driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.attach = driver.loop.attach
        self.shutdown = partial(driver.ask, Shutdown())
        self.tell_stopped = driver.waiters.tell_stopped
        self.detach = driver.leave
        self.disown = driver.disown

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """The live or last session, and what it has carried so far."""
        return self._driver.traffic

    @property
    def helm(self) -> Helm | None:
        """What the connection is steered by."""
        return self._driver.helm

    def steer(self, steering: Steering) -> Helm:
        """Lets the connection be steered."""
        self._driver.helm = helm = DriverHelm(self._driver, steering)
        return helm

    def abort(self) -> None:
        """Aborts what is live here."""
        driver, helm = self._driver, self._driver.helm
        driver.loop.run(partial(driver.feed, Abort()) if helm is None else helm.cut_short)
