"""Event loops: which one rxnodes makes, a thread that runs one, and calls from other threads."""

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
from rxnodes.rx.schedulers import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["LoopThread", "call_on", "new_event_loop", "observer_on_loop_of", "on_loop_of"]

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Makes a uvloop if that is installed (`pip install rxnodes[uvloop]`), and otherwise asyncio's own loop."""
    _occupy_standard_descriptors()
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _occupy_standard_descriptors() -> None:
    """Opens the null device for each standard stream that the process was started without.

    Otherwise a connection would get that descriptor. The program's output to descriptor 1 would then go to the peer.
    And libuv ends the process when it closes such a descriptor.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system assigns the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


class LoopThread:
    """Runs an event loop in a thread of its own, on which it enters and leaves an asynchronous context manager.

    A project or a test server in a plain `with` uses it.

    Args:
        held: The context manager.
        on_interrupt: Called in the thread that leaves, for each Ctrl+C that comes meanwhile.
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
        """Starts the thread, and returns when the context manager is entered. It raises what entering raises."""
        own(self)
        self._thread.start()
        self._has_begun.wait()
        self._raise_error()

    def leave(self) -> None:
        """Leaves the context manager, and returns when the thread has ended.

        In a forked process, which has no such thread, it returns at once.

        Raises:
            RxNodesError: If this is the loop's own thread, which would wait for itself.
        """
        if self._is_inherited:
            return
        if threading.current_thread() is self._thread:
            raise RxNodesError(
                "a plain 'with' cannot be left in the thread that it runs, such as in a subscriber or in a script of a "
                "server, because that thread would wait for itself; leave it in another thread"
            )
        assert self._loop is not None
        # Not by `join`: before CPython 3.13, an interrupted join marks the thread as dead.
        interrupt: KeyboardInterrupt | None = None
        while not self._has_ended.is_set():
            try:
                # Within the try, because another interrupt may come during the call.
                if interrupt is not None:
                    self._on_interrupt()
                # The loop may be closed already, because a subscriber raised a SystemExit.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._leave.set)
                self._has_ended.wait()
            except KeyboardInterrupt as error:
                self._error = interrupt = error
        self._thread.join()
        self._raise_error()

    def disown(self) -> None:
        """Called in a forked process, which has no such thread."""
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
                    # A subscriber raised it. The context manager is left first; leave() then raises the error.
                    self._error = error
                    self._leave.set()
                except BaseException as error:  # noqa: BLE001 - start() or leave() raises it
                    self._error = error

    async def _hold(self) -> None:
        async with self._held:
            self._has_begun.set()
            await self._leave.wait()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def on_loop_of(scheduler: abc.SchedulerBase | None, notify: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a callback so that it is called on the loop of an `AsyncIOScheduler`. With any other it stays as it is.

    A coroutine that awaits an observable subscribes with an `AsyncIOScheduler`, and its callbacks set the result of a
    future. If another thread set the result, the coroutine would not wake up.
    """
    if type(scheduler) is AsyncIOScheduler:
        return functools.partial(call_on, scheduler._loop, notify)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return notify


def observer_on_loop_of(scheduler: abc.SchedulerBase | None, observer: abc.ObserverBase[T]) -> abc.ObserverBase[T]:
    """Wraps an observer as `on_loop_of` wraps a callback."""
    if type(scheduler) is AsyncIOScheduler:
        return Observer(
            on_loop_of(scheduler, observer.on_next),
            on_loop_of(scheduler, observer.on_error),
            on_loop_of(scheduler, observer.on_completed),
        )
    return observer


def call_on(loop: asyncio.AbstractEventLoop, notify: Callable[..., Any], *values: Any) -> None:
    """Calls `notify(*values)` on the loop: at once in the loop's thread, and in its next turn from another thread."""
    if running_loop() is loop:
        notify(*values)
        return
    # If the loop is closed, nobody waits for the call.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(notify, *values)
