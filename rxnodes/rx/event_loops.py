"""Event loops: the one that rxnodes makes, a thread that runs one, and calls that go to the loop of a subscriber."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observer, abc
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.errors import RxNodesError
from rxnodes.rx.forking import own

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["LoopThread", "call_on", "new_event_loop", "observer_on_loop_of", "on_loop_of"]

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where that is installed (`pip install rxnodes[uvloop]`), and asyncio's own loop where it is not."""
    _occupy_standard_descriptors()
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _occupy_standard_descriptors() -> None:
    """Opens the null device for each standard stream that the process was started without.

    A connection would get that descriptor otherwise: what is written to standard output by number would go to the peer,
    and libuv ends the process when it closes one.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)


class LoopThread:
    """An event loop in a thread of its own, for as long as something is entered with a plain `with`.

    Args:
        held: What is entered and left on the loop.
        on_interrupt: Called when Ctrl+C comes while it is being left, in the thread that leaves it.
    """

    def __init__(self, held: AbstractAsyncContextManager[Any], on_interrupt: Callable[[], None]) -> None:
        self._held = held
        self._on_interrupt = on_interrupt
        self._thread = threading.Thread(target=self._run, name="rxnodes", daemon=True)
        self._has_begun = threading.Event()
        self._has_ended = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._is_inherited = False

    def start(self) -> None:
        """Returns when it is entered, or raises why it is not."""
        own(self)
        self._thread.start()
        self._has_begun.wait()
        self._raise_error()

    def leave(self) -> None:
        """Leaves it, and returns when that is done; in a process forked meanwhile, where no such thread is, at once.

        Raises:
            RxNodesError: If this is its own thread, which would wait for itself.
        """
        if self._is_inherited:
            return
        if threading.current_thread() is self._thread:
            raise RxNodesError(
                "a plain 'with' cannot be left in the thread that it runs, such as by a subscriber or a script, which "
                "would wait for itself; leave it in another thread, which can be told from here"
            )
        # Not by joining: a join that is interrupted takes the thread for dead, before CPython 3.13.
        interrupt: KeyboardInterrupt | None = None
        while not self._has_ended.is_set():
            try:
                # Within the try, for another one may come while an interrupt is being answered.
                if interrupt is not None:
                    self._on_interrupt()
                self._tell(self._leave.set)
                self._has_ended.wait()
            except KeyboardInterrupt as error:
                self._error = interrupt = error
        self._thread.join()
        self._raise_error()

    def disown(self) -> None:
        """In a forked process: the thread is not here."""
        self._is_inherited = True

    def _run(self) -> None:
        try:
            self._hold_in_loop()
        finally:
            self._has_begun.set()
            self._has_ended.set()

    def _hold_in_loop(self) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            self._loop = runner.get_loop()
            self._task = self._loop.create_task(self._hold())
            while not self._task.done():
                try:
                    self._loop.run_until_complete(self._task)
                except (KeyboardInterrupt, SystemExit) as error:
                    # Raised by a subscriber: it is left first, and whoever leaves it is told.
                    self._error = error
                    self._leave.set()
                except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                    self._error = error

    async def _hold(self) -> None:
        async with self._held:
            self._has_begun.set()
            await self._leave.wait()

    def _tell(self, action: Callable[[], None]) -> None:
        assert self._loop is not None
        # The loop may have closed already, because a subscriber ended it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def on_loop_of(scheduler: abc.SchedulerBase | None, notify: Callable[..., Any]) -> Callable[..., Any]:
    """The callback as it is to be called where it was subscribed with this scheduler.

    An `AsyncIOScheduler`, which is what a coroutine that awaits an observable subscribes with, is for its loop's own
    thread alone. So from another thread it is called by way of that loop: a future that is given its result from
    elsewhere does not wake whoever awaits it.
    """
    if type(scheduler) is AsyncIOScheduler:
        return functools.partial(call_on, scheduler._loop, notify)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return notify


def observer_on_loop_of(scheduler: abc.SchedulerBase | None, observer: abc.ObserverBase[T]) -> abc.ObserverBase[T]:
    """The observer as it is to be called where it was subscribed with this scheduler."""
    if type(scheduler) is AsyncIOScheduler:
        return Observer(
            on_loop_of(scheduler, observer.on_next),
            on_loop_of(scheduler, observer.on_error),
            on_loop_of(scheduler, observer.on_completed),
        )
    return observer


def call_on(loop: asyncio.AbstractEventLoop, notify: Callable[..., Any], *values: Any) -> None:
    """Calls `notify(*values)` on that loop: at once where it is the one that runs in this thread."""
    # get_running_loop would raise where there is none.
    if asyncio._get_running_loop() is loop:  # noqa: SLF001
        notify(*values)
        return
    # A loop that has closed has nobody left who waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(notify, *values)
