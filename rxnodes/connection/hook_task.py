"""The task that a user's hook runs in. It can be cancelled, and left behind if it ignores that."""

from __future__ import annotations

import asyncio
import logging
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

from rxnodes.errors import ConnectError, RxNodesError, text_of
from rxnodes.transport.reasons import system_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

__all__ = ["GiveUp", "HookTask"]

T = TypeVar("T")

logger = logging.getLogger("rxnodes")


class GiveUp(Exception):  # noqa: N818 - says what is to be done
    """Raised by a hook to say that no further attempt is worth making.

    The session stops with a `ConnectError` of the same text, and is not retried.

    Example:
        >>> from rxnodes import Project
        >>> from rxnodes.testing import ScriptedTransport, peer_script, run_in_virtual_time
        >>> async def only_once(attempt: Attempt) -> None:
        ...     if attempt.attempt > 1:
        ...         raise GiveUp("once is enough")
        >>> async def main() -> None:
        ...     feed = {"url": "ws://feed.test/", "before_connect": only_once, "reconnect": {"enabled": True}}
        ...     async with Project(websocket={"feed": feed}, transport=ScriptedTransport(peer_script("-r"))) as project:
        ...         project.websocket("feed").start()
        ...         stopped = await project.websocket("feed").wait_stopped()
        ...     print(stopped.attempts, stopped.error)
        >>> run_in_virtual_time(main())
        2 once is enough
    """


class HookTask(Generic[T]):
    """A hook that is running.

    Args:
        name: The hook's name in the settings.
        connection: The connection's name.
        ask: Calls the hook. It gets this task, so that it can see whether the hook has ignored a cancellation.
        done: Called once, when the task has ended or is left behind, with the hook's answer, or with the error that
            says why there is none. `None`: we have cancelled it.
        context: The context that the hook runs in; `None`: a copy of the current one.

    Attributes:
        is_cancelled: Whether we have cancelled it.
    """

    __slots__ = ("_connection", "_done", "_loop", "_name", "_task", "is_cancelled")

    def __init__(
        self,
        name: str,
        connection: str,
        ask: Callable[[HookTask[T]], Coroutine[Any, Any, T | ConnectError]],
        done: Callable[[T | ConnectError | None], None],
        context: Context | None = None,
    ) -> None:
        self._name = name
        self._connection = connection
        self._done: Callable[[T | ConnectError | None], None] | None = done
        self.is_cancelled = False
        self._loop = asyncio.get_running_loop()
        # Not by the loop's factory: an eager one would run the hook within the step that has it asked.
        self._task: asyncio.Task[T | ConnectError] | None = asyncio.Task(
            ask(self), loop=self._loop, name=f"rxnodes {name} {connection}", context=context
        )
        self._task.add_done_callback(self._on_done)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was left behind."""
        return self._done is None

    def abort(self) -> None:
        """Cancels the hook. The second time, it is left behind."""
        if self._task is None:
            return
        self._task.cancel()
        if self.is_cancelled:
            # Only after it has had a turn of the loop to notice that it is cancelled.
            self._loop.call_soon(self._leave_behind)
        self.is_cancelled = True

    def _leave_behind(self) -> None:
        if self._task is None or self._task.done() or self.is_over:
            return
        logger.warning(
            "%s: %s goes on although it was cancelled: its task is left behind, its answer will be ignored",
            self._connection,
            self._name,
        )
        self._end(None)

    def _on_done(self, task: asyncio.Task[T | ConnectError]) -> None:
        # The task holds its exception, and so, by the traceback, us.
        self._task = None
        outcome = self._outcome(task)
        self._end(None if self.is_cancelled else outcome)

    def _end(self, outcome: T | ConnectError | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(outcome)

    def _outcome(self, task: asyncio.Task[T | ConnectError]) -> T | ConnectError | None:
        if task.cancelled():
            return None if self.is_cancelled else self._cancelled_from_within()
        error = task.exception()
        return task.result() if error is None else self._failure(error)

    def _cancelled_from_within(self) -> ConnectError:
        logger.error("%s: %s was cancelled, by what it awaits", self._connection, self._name)
        return ConnectError(f"{self._name} was cancelled, by what it awaits and not by a stop")

    def _failure(self, error: BaseException) -> ConnectError:
        """Makes the attempt's error of the hook's exception."""
        name, kind = self._name, type(error).__name__
        if isinstance(error, KeyboardInterrupt | SystemExit):
            # The loop has raised it in the program already.
            return ConnectError(f"{name} raised {kind}")
        known = _first_known(error)
        if isinstance(known, GiveUp):
            return ConnectError(text_of(known, otherwise=f"{name} gave up"), retryable=False)
        if isinstance(known, ConnectError):
            # Without its traceback, which would keep the attempt alive.
            return copy(known)
        if isinstance(known, RxNodesError):
            return ConnectError(f"{name} raised {type(known).__name__}: {known}")
        if known is not None:
            # As ordinary as a dial that fails, so it is not logged: it may come with every attempt.
            return ConnectError(f"{name} failed: {system_reason(known)}")
        logger.error("%s: %s raised", self._connection, name, exc_info=error)
        return ConnectError(f"{name} raised {kind}; the log has the traceback")


def _first_known(error: BaseException) -> GiveUp | RxNodesError | OSError | None:
    """Finds the exception of ours, or of the network, that a hook has raised.

    The error may be a group, as a `TaskGroup` raises it. A `GiveUp` comes first. `None`: the hook has raised something
    else as well, which belongs into the log.
    """
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, GiveUp):
            return leaf
    known = [leaf for leaf in leaves if isinstance(leaf, RxNodesError) or _is_of_network(leaf)]
    return known[0] if known and len(known) == len(leaves) else None


def _is_of_network(error: BaseException) -> TypeGuard[OSError]:
    """Whether the system has failed, but at no file: a missing file is a mistake of the program."""
    return isinstance(error, OSError) and error.filename is None and system_reason(error) is not None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for one in group.exceptions:
            yield from _leaves(one)
    else:
        yield error
