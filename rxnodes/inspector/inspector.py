"""Inspector: serves the live page of a project."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from aiohttp import web

from rxnodes.errors import RxNodesError
from rxnodes.inspector.access import Access
from rxnodes.inspector.collector import Collector
from rxnodes.inspector.workers import WorkersReader
from rxnodes.rx.trigger import pulse
from rxnodes.websocket.action_nodes import client_start, client_stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rxnodes.inspector.access import Token
    from rxnodes.inspector.collector import Cursor, HasConnections
    from rxnodes.inspector.workers import HasWorkers

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["Inspector"]

#: Seconds between two updates of a page, however much happens.
UPDATE_EVERY: Final = 0.1

#: Seconds after which a page gets a comment if nothing has changed, so that each side notices the other's end.
KEEP_ALIVE: Final = 15.0

#: Seconds within which a page must take an update.
PATIENCE: Final = 30.0

#: How many pages and programs may follow at once, and how many TCP connections there may be.
MAX_STREAMS: Final = 64
MAX_SOCKETS: Final = 192

#: Seconds within which a TCP connection must bring a request.
SILENCE: Final = 60.0

_PAGE: Final = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/lane.js": ("lane.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/workers.js": ("workers.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_HEADERS: Final = {
    "Server": "rxnodes",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Inspector:
    """Serves one page that shows a project's connections as they are, while the program runs.

    The page has a row for each connection that is configured or added: its state and the reason for it, its traffic,
    its latency, its latest events, and buttons that start and stop it. Programs use `GET /api/connections`,
    `GET /api/events` (server-sent events) and `POST /api/connections/NAME/start` and `/stop`.

    Enter it before its project, so that the page shows the end, or within it. A message costs nothing more.

    Args:
        project: The project, or a fleet that is seen from outside.
        host: The IP address to listen on, or its name. The default can be reached from this machine alone.
        port: The port, 0 to 65535; 0: any free one.
        token: Gives a page or a program access. `None`: a random one is made. `False`: everyone has access, which is
            allowed on a loopback address only. The token is in `url`, and in no log.
        workers: Knows the workers of the fleet. The page shows them above the connections, and `GET /api/workers`
            tells them. `None`: there is no fleet.

    Raises:
        TypeError: If `token` is of another type.
        ValueError: If `host` is empty, or `token` is empty or has a character that `Authorization: Bearer` cannot
            carry, or is `False` where other machines can reach the page.
        OSError: On entering, if it cannot listen there.
        PluginDisabled: On entering, if the WebSocket plugin is switched off.

    Example:
        >>> import asyncio
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     project = Project(websocket={"chat": "ws://127.0.0.1:8080/"})
        ...     async with Inspector(project, token="example") as inspector, project:
        ...         print(inspector.url.replace(str(inspector.port), "PORT"))
        >>> asyncio.run(main())
        http://127.0.0.1:PORT/#example
    """

    def __init__(
        self,
        project: HasConnections,
        host: str = "127.0.0.1",
        port: int = 0,
        token: Token = None,
        *,
        workers: HasWorkers | None = None,
    ) -> None:
        self._project = project
        self._host = host
        self._port = port
        self._access = Access(host, token)
        self._collector = Collector(project)
        self._workers = workers
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        where = "not serving" if self._server is None else f"at {self._origin}"
        return f"<Inspector {where}>"

    @property
    def port(self) -> int:
        """The port on which it listens.

        Raises:
            RxNodesError: If it has not been entered.
        """
        if self._server is None:
            raise RxNodesError("the inspector is not serving; enter it with `async with`")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The URL of the page. Its fragment is the token: browsers send no fragment to anybody.

        Raises:
            RxNodesError: If it has not been entered.
        """
        fragment = "" if self._access.token is None else f"#{self._access.token}"
        return f"{self._origin}/{fragment}"

    @property
    def _origin(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.on_response_prepare.append(_add_headers)
        app.router.add_routes(
            [
                *(web.get(path, _file_handler(*page)) for path, page in _PAGE.items()),
                web.post("/api/session", self._exchange),
                web.get("/api/connections", self._list),
                web.get("/api/workers", self._list_workers),
                web.get("/api/events", self._stream, allow_head=False),
                *(
                    web.post(f"/api/connections/{name}{action}", partial(self._execute, node))
                    for action, node in (("start", client_start), ("stop", client_stop))
                    # Without it, the query has the name: `.` and `..` cannot be in a path (WHATWG URL section 4.4).
                    for name in ("{name:.+}/", "")
                ),
            ]
        )
        app.on_shutdown.append(self._end_streams)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            # A reader that goes ends its stream at once.
            handler_cancellation=True,
            shutdown_timeout=1,
            keepalive_timeout=SILENCE,
            # No handler reads a body. So many seconds long, the server reads the rest of one and drops it.
            lingering_time=1,
        )
        self._collector.__enter__()
        try:
            await runner.setup()
            assert runner.server is not None
            door = partial(_Door, runner.server)
            self._server = await asyncio.get_running_loop().create_server(door, self._host, self._port)
        except BaseException:
            self._collector.__exit__()
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._server is not None
        runner, self._runner = self._runner, None
        server, self._server = self._server, None
        self._collector.__exit__()
        server.close()
        await runner.cleanup()

    async def _end_streams(self, _: web.Application) -> None:
        for stream in tuple(self._streams):
            stream.cancel()

    # Who may do what

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets a request through if its host leads here, its sender is no other site, and it has access."""
        if not self._access.is_for_us(request.headers.get("Host", "")):
            return _refused(403, "this host name does not lead to the inspector")
        # The files of the page say nothing about the program.
        if request.path not in _PAGE:
            if not self._access.is_from_us(request.headers):
                return _refused(403, "this request comes from another site")
            cookie = request.cookies.get(self._cookie_name, "")
            if not self._access.is_allowed(request.headers.get("Authorization", ""), cookie):
                response = _refused(401, "this needs the token, as `Authorization: Bearer TOKEN`")
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
        return await handler(request)

    @property
    def _cookie_name(self) -> str:
        # A browser sends cookies to all ports of a host.
        return f"rxnodes-inspector-{self.port}"

    async def _exchange(self, _: web.Request) -> web.Response:
        """Gives a page a cookie for its token."""
        response = web.Response(status=204)
        response.set_cookie(self._cookie_name, self._access.cookie, path="/api/", httponly=True, samesite="Strict")
        return response

    # The connections

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"connections": self._collector.rows()})

    async def _list_workers(self, _: web.Request) -> web.Response:
        if self._workers is None:
            return _refused(404, "there is no fleet")
        return web.json_response(self._workers.told())

    async def _execute(self, node: Callable[..., Any], request: web.Request) -> web.Response:
        """Sends a pulse through an action node, which does not wait."""
        name = request.match_info.get("name") or request.query.get("name", "")
        row = self._collector.row(name)
        if row is None:
            return _refused(404, "there is no connection of this name")
        problems: list[Exception] = []
        pulse().pipe(node(row.connection)).subscribe(on_error=problems.append)
        if problems:
            return _refused(409, str(problems[0]))
        return web.json_response({"connection": row.connection.name, "state": row.connection.state}, status=202)

    # Server-sent events

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if len(self._streams) >= MAX_STREAMS:
            return _refused(503, f"{MAX_STREAMS} pages and programs follow already")
        stream = asyncio.current_task()
        assert stream is not None
        self._streams.add(stream)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await self._feed(response, self._collector.cursor_at(request.headers.get("Last-Event-ID", "")))
        except (ConnectionError, TimeoutError):
            # The reader is gone or too slow. What it does not take must not stay in the transport's buffer.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.discard(stream)
        return response

    async def _feed(self, response: web.StreamResponse, cursor: Cursor | None) -> None:
        """Sends the changes until the reader goes. Nothing is queued for a slow one: its next update has all."""
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        workers = WorkersReader(self._workers)
        while True:
            kind, news = "update", None
            try:
                news = None if cursor is None else self._collector.update(cursor)
            except LookupError:
                cursor = None
            if cursor is None:
                kind = "snapshot"
                cursor, news = self._collector.snapshot()
            text = "" if news is None else f"event: {kind}\nid: {self._collector.id_at(cursor)}\ndata: {news}\n\n"
            if (changed := workers.news(loop.time())) is not None:
                # Without an id: a reader that comes again gets all of it again.
                text += f"event: workers\ndata: {changed}\n\n"
            if not text and loop.time() - sent_at >= KEEP_ALIVE:
                text = ":\n\n"
            if text:
                async with asyncio.timeout(PATIENCE):
                    await response.write(text.encode())
                sent_at = loop.time()
            await asyncio.sleep(UPDATE_EVERY)


class _Door(asyncio.Protocol):
    """Refuses a TCP connection beyond `MAX_SOCKETS`, so that the program keeps its descriptors."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._server.connections) >= MAX_SOCKETS:
            cast("asyncio.Transport", transport).abort()
            return
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _refused(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)


def _file_handler(name: str, content_type: str) -> Handler:
    body = Path(__file__).with_name("page").joinpath(name).read_bytes()

    async def give(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return give
