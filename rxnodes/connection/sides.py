"""How a connection meets its nodes and its project: two views of its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rxnodes.lifecycle.inputs import Reported, Shutdown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.connection.driver import Driver
    from rxnodes.errors import RxNodesError, SendError
    from rxnodes.lifecycle.events import ErrorPhase, Stopped

__all__ = ["DriverForNodes", "DriverForProject"]

T = TypeVar("T")


class DriverForNodes:
    """What nodes need of a connection, on its driver."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def ended(self) -> Observable[Stopped]:
        """Every `Stopped`, once all have seen it."""
        return self._driver.publisher.ended

    @property
    def texts(self) -> Observable[str]:
        """Every message as `str`."""
        return self._driver.inbound.texts

    @property
    def binaries(self) -> Observable[bytes]:
        """Every message as `bytes`."""
        return self._driver.inbound.binaries

    @property
    def is_delivering(self) -> bool:
        """Whether a notification is being delivered."""
        return self._driver.outbox.is_delivering

    def batches(self, *, is_binary: bool | None) -> Observable[Any]:
        """The messages of one read as a list."""
        return self._driver.inbound.batches(is_binary=is_binary)

    def values(self, codec: Codec[Any], *, batched: bool = False) -> Observable[Any]:
        """What a codec reads of every message."""
        return self._driver.inbound.values(codec, batched=batched)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What the connection's nodes have in common under a key."""
        return self._driver.inbound.shared(key, make)

    def now(self) -> datetime:
        """The time of day in UTC."""
        return self._driver.loop.now()

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread."""
        self._driver.loop.run(action)

    def notify(self, deliver: Callable[[T], None], value: T) -> None:
        """Delivers a node's own notification in its turn."""
        self._driver.outbox.send(deliver, value)

    def report(self, phase: ErrorPhase, error: RxNodesError) -> None:
        """Publishes an `ErrorEvent`."""
        self._driver.command(Reported(phase, error))

    def report_unwritten(self, error: SendError, tag: object) -> None:
        """Publishes what kept a message from being written."""
        driver = self._driver
        driver.loop.check()
        driver.loop.run(lambda: driver.outbound.drop_unwritten(error, tag))

    def on_handler_error(self, error: BaseException) -> None:
        """Reports what a subscriber to a node's own stream raised."""
        self._driver.publisher.report(error)


class DriverForProject:
    """What the project and its scenes need of a connection, on its driver."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets the connection live on `loop`."""
        self._driver.loop.attach(loop, thread)

    def shutdown(self) -> None:
        """Stops the connection, and starts it never again."""
        self._driver.loop.run(lambda: self._driver.feed(Shutdown()))

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Gives a future what `wait_stopped` waits for."""
        self._driver.waiters.tell_stopped(future)

    def detach(self) -> None:
        """Completes all streams."""
        self._driver.leave()

    def disown(self) -> None:
        """In a forked process: the connection is the parent's."""
        self._driver.disown()
