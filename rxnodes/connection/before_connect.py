"""The hook before each attempt: fresh credentials, another URL, or a pause."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxnodes.connection.hook_task import HookTask
from rxnodes.errors import ConnectError, RxNodesError, text_of
from rxnodes.lifecycle.events import Traffic

if TYPE_CHECKING:
    from rxnodes.transport.base import Sink, Target

__all__ = ["Attempt", "BeforeConnect", "ConnectOptions", "HeldBack", "Preparation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The attempt that is about to be made.

    Attributes:
        connection: The connection's name.
        session: The session's number, from 1.
        attempt: The attempt's number within the session, from 1.
        error: Why the attempt before it failed or ended; `None` for the first, and after a clean end.

    Example:
        >>> async def patience(attempt: Attempt) -> ConnectOptions | None:
        ...     is_too_much = isinstance(attempt.error, ConnectError) and attempt.error.status == 429
        ...     return ConnectOptions(delay=60) if is_too_much else None
        >>> error = ConnectError("the server answered 429 instead of 101", status=429)
        >>> await patience(Attempt(connection="feed", session=1, attempt=2, error=error))
        ConnectOptions(delay=60)
    """

    connection: str
    session: int
    attempt: int
    error: RxNodesError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How an attempt differs from the configuration. Its `repr` holds no secret.

    Attributes:
        url: In place of the configured URL.
        headers: Join the configured headers, and win over those of the same name.
        query: Joins the query likewise.
        subprotocols: In place of the configured ones, the preferred first; `None`: as configured. Some services take a
            token there.
        delay: Seconds to wait before the dial, from 0. A stop meanwhile cancels the attempt.

    Raises:
        ValueError: If the delay is negative, infinite or no number.

    Example:
        >>> from rxnodes import Project
        >>> async def fresh_token(attempt: Attempt) -> ConnectOptions:
        ...     return ConnectOptions(headers={"Authorization": f"Bearer token-{attempt.attempt}"})
        >>> feed = {"url": "wss://feed.example/", "before_connect": fresh_token}
        >>> Project(websocket={"feed": feed}).websocket("feed")
        <Connection 'feed' idle, session 0>
    """

    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    subprotocols: Sequence[str] | None = field(default=None, repr=False)
    delay: float = 0.0

    def __post_init__(self) -> None:
        # Hooks do not always give what their types say.
        is_number = isinstance(self.delay, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not (is_number and 0 <= self.delay < math.inf):
            raise ValueError("delay must be a finite number of seconds, from 0")


BeforeConnect = Callable[[Attempt], Awaitable[ConnectOptions | None]]
"""A hook. Its answer holds for this attempt. `None`: all as it is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Asks the hook before each dial.

    Attributes:
        hook: The hook.
        retarget: Applies its answer to the configuration. Raises `ValueError` for an answer that cannot be used.
    """

    hook: BeforeConnect
    retarget: Callable[[ConnectOptions], Target]

    def begin(
        self, attempt: Attempt, sink: Sink, dial: Callable[[Target], None], postpone: Callable[[float], None]
    ) -> HookTask[Target]:
        """Begins an attempt with the hook, in a turn of the loop of its own.

        Args:
            attempt: The hook's argument.
            sink: The attempt's sink. If the hook leads to no dial, its `lost` is called.
            dial: Called with the target once the hook has answered; from then on the attempt is the transport's.
            postpone: Called with the seconds that the dial waits, once the hook has answered.
        """

        def ask(task: HookTask[Target]) -> Coroutine[Any, Any, Target | ConnectError]:
            return self._ask(attempt, task, postpone)

        def done(outcome: Target | ConnectError | None) -> None:
            if outcome is None or isinstance(outcome, ConnectError):
                sink.lost(outcome, Traffic())
            else:
                dial(outcome)

        return HookTask("before_connect", attempt.connection, ask, done)

    async def _ask(
        self, attempt: Attempt, task: HookTask[Target], postpone: Callable[[float], None]
    ) -> Target | ConnectError:
        """Asks the hook, and waits as long as it says.

        Returns:
            Where to dial, or why not.
        """
        options = await self.hook(attempt)
        if task.is_cancelled:
            # The hook has ignored that.
            raise asyncio.CancelledError
        if options is None:
            options = ConnectOptions()
        if not isinstance(options, ConnectOptions):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            what = type(options).__name__
            return ConnectError(f"before_connect gave {what}, not ConnectOptions or None", retryable=False)
        try:
            target = self.retarget(options)
        except ValueError as error:
            return ConnectError(f"before_connect gave what cannot be used: {text_of(error)}", retryable=False)
        postpone(options.delay)
        if options.delay > 0:
            await asyncio.sleep(options.delay)
        return target


class HeldBack:
    """An attempt that has no link yet, because its time has not come.

    Args:
        delay: In how many seconds it comes.
        sink: The attempt's sink. If the attempt is given up before, its `lost` is called.
        begin: Called when the time has come; from then on the attempt is another's.
    """

    def __init__(self, delay: float, sink: Sink, begin: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._timer = self._loop.call_later(delay, begin)

    def abort(self) -> None:
        """Gives the attempt up."""
        self._timer.cancel()
        self._loop.call_soon(self._sink.lost, None, Traffic())
