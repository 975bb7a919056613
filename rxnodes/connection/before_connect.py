"""The hook before each attempt: fresh credentials, another URL, a pause, or giving up."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxnodes.errors import ConnectError, RxNodesError, text_of
from rxnodes.lifecycle.events import Traffic

if TYPE_CHECKING:
    from rxnodes.transport.base import Sink, Target

__all__ = ["Attempt", "BeforeConnect", "ConnectOptions", "GiveUp", "HeldBack", "Preparation"]

logger = logging.getLogger("rxnodes")


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
    """What an attempt does otherwise than the configuration says. Its `repr` holds no secret.

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
        # What a hook gives is not always what its types say.
        is_number = isinstance(self.delay, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not (is_number and 0 <= self.delay < math.inf):
            raise ValueError("delay must be a finite number of seconds, from 0")


BeforeConnect = Callable[[Attempt], Awaitable[ConnectOptions | None]]
"""A hook; what it answers with holds for this attempt. `None`: all as it is configured."""


class GiveUp(Exception):  # noqa: N818 - says what is to be done
    """Raised by a hook: no attempt is worth making any more. Its text becomes the error's.

    The session stops with a `ConnectError`, and is not retried.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done before each dial.

    Attributes:
        hook: Asked before each attempt.
        retarget: Applies what it answers to the configuration. Raises `ValueError` for what cannot be used.
    """

    hook: BeforeConnect
    retarget: Callable[[ConnectOptions], Target]

    def begin(
        self, attempt: Attempt, sink: Sink, dial: Callable[[Target], None], postpone: Callable[[float], None]
    ) -> Preparing:
        """Begins an attempt with the hook, in a turn of the loop of its own.

        Args:
            attempt: What the hook is told.
            sink: What is told that the attempt is over, where no dial comes of it.
            dial: Called with the target once the hook has answered; from then on the attempt is the transport's.
            postpone: Told for how many seconds the dial waits, once the hook has answered.
        """
        return Preparing(self, attempt, sink, dial, postpone)


class HeldBack:
    """An attempt that has no link yet: its time has not come.

    Args:
        delay: When it comes, in seconds.
        sink: Told that the attempt is over, where it is given up before that.
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


class Preparing:
    """An attempt that has no link yet: its hook is being asked."""

    def __init__(
        self,
        preparation: Preparation,
        attempt: Attempt,
        sink: Sink,
        dial: Callable[[Target], None],
        postpone: Callable[[float], None],
    ) -> None:
        self._connection = attempt.connection
        self._sink = sink
        self._dial = dial
        self._postpone = postpone
        self._is_aborted = False
        self._is_left_behind = False
        # Not by the loop's factory: an eager one would run the hook within the step that begins the attempt.
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Target | ConnectError] | None = asyncio.Task(
            self._prepare(preparation, attempt),
            loop=self._loop,
            name=f"rxnodes before_connect {attempt.connection}",
        )
        self._task.add_done_callback(self._go_on)

    async def _prepare(self, preparation: Preparation, attempt: Attempt) -> Target | ConnectError:
        """Asks the hook, and waits as long as it says.

        Returns:
            Where to dial, or why not.
        """
        try:
            options = await preparation.hook(attempt)
        except GiveUp as error:
            reason = text_of(error, otherwise="before_connect gave up")
            return ConnectError(reason, retryable=False)
        if self._is_aborted:
            # The hook has answered though it was cancelled.
            raise asyncio.CancelledError
        if options is None:
            options = ConnectOptions()
        if not isinstance(options, ConnectOptions):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            what = type(options).__name__
            return ConnectError(f"before_connect gave {what}, not ConnectOptions or None", retryable=False)
        try:
            target = preparation.retarget(options)
        except ValueError as error:
            return ConnectError(f"before_connect gave what cannot be used: {text_of(error)}", retryable=False)
        self._postpone(options.delay)
        if options.delay > 0:
            await asyncio.sleep(options.delay)
        return target

    def _go_on(self, task: asyncio.Task[Target | ConnectError]) -> None:
        # It knows how it ended, and so, by the traceback, us.
        self._task = None
        outcome = self._outcome(task)
        if self._is_left_behind:
            return
        if self._is_aborted or outcome is None or isinstance(outcome, ConnectError):
            self._sink.lost(outcome if isinstance(outcome, ConnectError) else None, Traffic())
        else:
            self._dial(outcome)

    def _outcome(self, task: asyncio.Task[Target | ConnectError]) -> Target | ConnectError | None:
        """What came of the hook; `None`: it was cancelled by us."""
        if task.cancelled():
            if self._is_aborted:
                return None
            logger.error("%s: before_connect was cancelled, by what it awaits", self._connection)
            return ConnectError("before_connect was cancelled, by what it awaits and not by a stop")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, KeyboardInterrupt | SystemExit):
            # It has gone to the program already.
            return ConnectError(f"before_connect raised {type(error).__name__}")
        logger.error("%s: before_connect raised", self._connection, exc_info=error)
        return ConnectError(f"before_connect raised {type(error).__name__}; the log has the traceback")

    def abort(self) -> None:
        """Cancels the hook, whose end is the attempt's. After a second time nobody waits for that end any longer."""
        if self._task is None:
            return
        self._task.cancel()
        if self._is_aborted:
            # Not before it has had a turn of the loop to see that it is cancelled.
            self._loop.call_soon(self._leave_behind)
        self._is_aborted = True

    def _leave_behind(self) -> None:
        if self._task is None or self._task.done() or self._is_left_behind:
            return
        self._is_left_behind = True
        logger.warning(
            "%s: before_connect goes on although it was cancelled: its task is left behind, its answer will be ignored",
            self._connection,
        )
        self._sink.lost(None, Traffic())
