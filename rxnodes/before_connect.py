"""The hook before each attempt: fresh credentials, another URL, a pause, or giving up."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxnodes.errors import ConnectError, RxNodesError, text_of
from rxnodes.lifecycle.traffic import Traffic

if TYPE_CHECKING:
    from rxnodes.sends import Receipt
    from rxnodes.transport.base import Link, Sink, Target, Transport

__all__ = ["Attempt", "BeforeConnect", "ConnectOptions", "GiveUp", "Preparation"]

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

    def dial(
        self, transport: Transport, attempt: Attempt, sink: Sink, postpone: Callable[[float], None]
    ) -> PreparedLink:
        """Begins an attempt with the hook.

        Args:
            transport: What dials then.
            attempt: What the hook is told.
            sink: What the link calls.
            postpone: Told for how many seconds the dial waits, once the hook has answered.
        """
        return PreparedLink(self, transport, attempt, sink, postpone)


class PreparedLink:
    """A link that asks the hook first, and is the transport's link from then on.

    Until then there is nothing to send on: all that can come is `abort`, and the wish that nothing be read.
    """

    def __init__(
        self,
        preparation: Preparation,
        transport: Transport,
        attempt: Attempt,
        sink: Sink,
        postpone: Callable[[float], None],
    ) -> None:
        self._transport = transport
        self._sink = sink
        self._postpone = postpone
        self._target: Target | None = None
        self._error: ConnectError | None = None
        self._link: Link | None = None
        self._is_paused = False
        self._is_aborted = False
        self._task = asyncio.get_running_loop().create_task(
            self._prepare(preparation, attempt), name=f"rxnodes before_connect {attempt.connection}"
        )
        self._task.add_done_callback(self._go_on)

    async def _prepare(self, preparation: Preparation, attempt: Attempt) -> None:
        try:
            options = await preparation.hook(attempt) or ConnectOptions()
        except GiveUp as error:
            reason = text_of(error, lambda error: str(error) or "before_connect gave up")
            self._error = ConnectError(reason, retryable=False)
            return
        except Exception as error:
            logger.exception("%s: before_connect raised", attempt.connection)
            self._error = ConnectError(f"before_connect raised {type(error).__name__}; the log has the traceback")
            return
        if self._is_aborted:
            # The hook has answered though it was cancelled.
            return
        if not isinstance(options, ConnectOptions):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            what = type(options).__name__
            self._error = ConnectError(f"before_connect gave {what}, not ConnectOptions or None", retryable=False)
            return
        try:
            self._target = preparation.retarget(options)
        except ValueError as error:
            self._error = ConnectError(f"before_connect gave what cannot be used: {text_of(error)}", retryable=False)
            return
        self._postpone(options.delay)
        if options.delay > 0:
            await asyncio.sleep(options.delay)

    def _go_on(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._is_aborted or self._target is None:
            self._sink.lost(self._error, Traffic())
        else:
            self._link = self._transport.dial(self._target, self._sink)
            if self._is_paused:
                self._link.pause_reading()

    def send(self, receipt: Receipt, /) -> None:
        """Sends a message."""
        assert self._link is not None
        self._link.send(receipt)

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame behind what was sent."""
        assert self._link is not None
        self._link.close(code, reason)

    def close_now(self, code: int, reason: str) -> None:
        """Sends a Close frame ahead of what waits."""
        assert self._link is not None
        self._link.close_now(code, reason)

    def pause_reading(self) -> None:
        """Reads no more, once there is something to read."""
        self._is_paused = True
        if self._link is not None:
            self._link.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        self._is_paused = False
        if self._link is not None:
            self._link.resume_reading()

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read."""
        if self._link is None:
            judge()
        else:
            self._link.catch_up(judge)

    def abort(self) -> None:
        """Cancels the hook, or ends the link."""
        if self._link is not None:
            self._link.abort()
        else:
            self._is_aborted = True
            self._task.cancel()
