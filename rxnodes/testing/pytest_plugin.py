"""Fixtures for pytest: `websocket_server` and `chaos_proxy`. They come with rxnodes, and cost nothing until used.

Both are factories, to be awaited within the test. What they start is closed when the test's event loop is closed or
when the test ends, whichever is first. A script that failed is an error of the test's teardown. They work with any
runner that cancels the tasks which a loop leaves behind, as `asyncio.run`, pytest-asyncio (in both modes) and anyio do.

Example:
    >>> async def test_reconnects(websocket_server, chaos_proxy):
    ...     server = await websocket_server(echo)
    ...     proxy = await chaos_proxy(server.url)
    ...     ...  # connect to proxy.url
    ...     proxy.reset_all()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any, TypeVar

    from rxnodes.testing.proxy import ChaosProxy
    from rxnodes.testing.server import Script, TcpServer, WebSocketServer

    ServerT = TypeVar("ServerT", bound=TcpServer)

__all__ = ["chaos_proxy", "websocket_server"]


@pytest.fixture
def websocket_server() -> Iterator[Callable[..., Coroutine[Any, Any, WebSocketServer]]]:
    """Gives a function that starts a `WebSocketServer`, to be awaited with the class's arguments."""
    keeper = _Keeper()

    async def start(
        script: Script, *, tls: ssl.SSLContext | None = None, port: int = 0, receive_buffer: int | None = None
    ) -> WebSocketServer:
        from rxnodes.testing.server import WebSocketServer  # noqa: PLC0415 - free when unused

        return await keeper.start(WebSocketServer(script, tls=tls, port=port, receive_buffer=receive_buffer))

    yield start
    keeper.close()


@pytest.fixture
def chaos_proxy() -> Iterator[Callable[..., Coroutine[Any, Any, ChaosProxy]]]:
    """Gives a function that starts a `ChaosProxy`, to be awaited with the class's arguments."""
    keeper = _Keeper()

    async def start(upstream: int | str, *, port: int = 0) -> ChaosProxy:
        from rxnodes.testing.proxy import ChaosProxy  # noqa: PLC0415 - free when unused

        return await keeper.start(ChaosProxy(upstream, port=port))

    yield start
    keeper.close()


class _Keeper:
    """Keeps the servers that a test started, each in a task of the test's loop. Cancelling the task closes it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, server: ServerT) -> ServerT:
        import asyncio  # noqa: PLC0415 - free when unused

        loop = asyncio.get_running_loop()
        started = loop.create_future()
        self._tasks.append(loop.create_task(_hold(server, started)))
        await started
        return server

    def close(self) -> None:
        """Closes all servers, unless the loop has done so by cancelling its tasks, and raises what went wrong."""
        failures = [error for task in reversed(self._tasks) if (error := _end(task)) is not None]
        if failures:
            raise BaseExceptionGroup("what the test started has failed", failures)


async def _hold(server: TcpServer, started: asyncio.Future[None]) -> None:
    """Keeps a server open until cancelled."""
    import asyncio  # noqa: PLC0415 - free when unused
    import contextlib  # noqa: PLC0415

    async with server:
        started.set_result(None)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()


def _end(task: asyncio.Task[None]) -> BaseException | None:
    """Ends the task of a server whose loop does not run, and returns what went wrong."""
    loop = task.get_loop()
    if not task.done() and not loop.is_closed():
        import asyncio  # noqa: PLC0415 - free when unused

        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    if not task.done():
        return RuntimeError("the event loop was closed without cancelling its tasks; a server was left open")
    return None if task.cancelled() else task.exception()
