"""`rxnodes demo`: one connection from start to end, as each of the seven nodes sees it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import textwrap
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from reactivex import operators as ops

import rxnodes
from rxnodes.cli.output import BOLD, DIM, RED, printable
from rxnodes.cli.pictures import print_picture
from rxnodes.errors import RxNodesError
from rxnodes.lifecycle.states import CloseCode
from rxnodes.project.project import Project
from rxnodes.project.run import run as run_in_order
from rxnodes.recording import Recorder
from rxnodes.recording.pictures.text import NARROWEST
from rxnodes.rx.trigger import pulse
from rxnodes.testing.server import CloseReceived, Peer, WebSocketServer
from rxnodes.transport.aiohttp import AiohttpTransport
from rxnodes.websocket.action_nodes import client_send, client_start, client_stop
from rxnodes.websocket.event_nodes import on_error, on_receive, on_start, on_stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from reactivex import Observable

    from rxnodes.cli.output import Output
    from rxnodes.connection.connection import Connection
    from rxnodes.lifecycle.events import Stopped
    from rxnodes.recording import Recording

__all__ = ["run"]

T = TypeVar("T")

_LAST_WORDS: Final = ("one more thing", "and another", "that was all")
_PACE: Final = 0.06

_STYLE_OF: Final = {"WebSocket Client Stop": BOLD, "On WebSocket Stop": BOLD, "On WebSocket Error": RED}


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Plays the demo; the status is 1 if the connection did not end as it should."""
    if options.fleet:
        if options.record or options.inspect is not None:
            raise RxNodesError("--fleet goes without --record and --inspect")
        from rxnodes.cli.fleets import check_installed  # noqa: PLC0415 - few need it

        check_installed()
        from rxnodes.cli import demo_fleet  # noqa: PLC0415

        return demo_fleet.run(options, out)
    return run_in_order(_play(options, out))


async def _play(options: argparse.Namespace, out: Output) -> int:
    """Plays one connection from start to end, and prints what each node does."""
    async with WebSocketServer(_slow_to_close) as server:
        configuration = {"url": server.url, "connect_timeout": 2, "close_timeout": 2}
        project = Project(websocket={"demo": configuration}, transport=AiohttpTransport())
        demo = project.websocket("demo")
        timeline = _Timeline(out, demo)
        timeline.say(f"rxnodes {rxnodes.__version__}: seven nodes, one real WebSocket, a server at port {server.port}")
        out.line()
        row = timeline.row_for
        recorder = Recorder(project, options.record)
        async with contextlib.AsyncExitStack() as stack:
            if options.inspect is not None:
                # Its import takes longer than that of everything else in the demo.
                from rxnodes.cli.inspect import inspected  # noqa: PLC0415

                await stack.enter_async_context(inspected(project, options, out))
                out.line()
            timeline.head()
            await stack.enter_async_context(project)
            with recorder:
                project.subscribe(
                    on_start(demo).pipe(row("On WebSocket Start", "open: messages can be sent")),
                    on_start(demo).pipe(client_send(demo, "hello"), row("WebSocket Client Send", '"hello"')),
                    on_receive(demo).pipe(row("On WebSocket Receive", lambda text: f'"{text}"')),
                    on_receive(demo).pipe(
                        ops.filter(lambda text: text == "hello"),
                        client_stop(demo),
                        row("WebSocket Client Stop", "the pulse has passed already"),
                    ),
                    on_stop(demo).pipe(row("On WebSocket Stop", _ending)),
                    on_stop(demo).pipe(client_send(demo, "too late"), row("WebSocket Client Send", '"too late"')),
                    on_error(demo).pipe(row("On WebSocket Error", attrgetter("message"))),
                    pulse().pipe(client_start(demo), row("WebSocket Client Start", "the pulse has passed already")),
                )
                stopped = await demo.wait_stopped()
            _conclude(stopped, recorder.recording, timeline, options)
            if options.inspect is not None:
                timeline.say('On the live page, "Start" plays it again; Ctrl+C ends it.')
                await out.until_unread()
    return 0 if stopped.was_clean else 1


def _conclude(stopped: Stopped, recording: Recording, timeline: _Timeline, options: argparse.Namespace) -> None:
    """Explains the demo, or says that it went wrong."""
    timeline.say()
    if not stopped.was_clean:
        timeline.say("This is not how the demo should end: a connection within this machine broke.")
        return
    timeline.draw(recording)
    _sum_up(timeline, options.record)


async def _slow_to_close(peer: Peer) -> None:
    """Sends every message back. Before it answers a Close frame it sends more messages, as a busy server does."""
    await peer.accept()
    try:
        while True:
            await peer.send_text(str(await peer.receive_message()))
    except CloseReceived:
        for words in _LAST_WORDS:
            await asyncio.sleep(_PACE)
            await peer.send_text(words)
        await asyncio.sleep(_PACE)
        await peer.send_close(CloseCode.NORMAL_CLOSURE, "goodbye")


def _ending(stopped: Stopped) -> str:
    return f'over: {stopped.code} "{stopped.reason}", {"clean" if stopped.was_clean else "not clean"}'


def _sum_up(timeline: _Timeline, record_to: str | None) -> None:
    timeline.say(
        "WebSocket Client Stop let its pulse pass at once; the connection had really ended, and On WebSocket Stop"
        f" fired, {timeline.closing_took:.1f} ms later. The {timeline.arrived_meanwhile} messages that still came in"
        " between were delivered first. What must run after the end belongs behind On WebSocket Stop: it fires exactly"
        " once for each start, however that ends."
    )
    timeline.say()
    timeline.say("Look next at:")
    for text in (
        f"rxnodes draw {record_to or 'demo.jsonl'} --output demo.svg: this picture for a page or a slide"
        + ("" if record_to else ", of what rxnodes demo --record demo.jsonl has recorded"),
        "rxnodes demo --inspect: the same on a live page",
        "README.md: such a graph in a few lines of Python",
        "rxnodes toolbox: all nodes",
        "rxnodes --help: what else there is",
    ):
        timeline.say(text, indent="  ")


class _Timeline:
    """Prints a row for each pulse that leaves a node. A bracket at the left joins the stop with its end.

    Attributes:
        width: How many columns a row may have.
        closing_took: Milliseconds from the stop's pulse to On WebSocket Stop.
        arrived_meanwhile: How many messages came between them.
    """

    _INDENT: Final = 46
    #: With fewer columns beside the indent, a row is written as running text.
    _LEAST: Final = 24

    def __init__(self, out: Output, connection: Connection) -> None:
        self.width = max(shutil.get_terminal_size().columns - 1, 1)
        self.closing_took = 0.0
        self.arrived_meanwhile = 0
        self._out = out
        self._connection = connection
        self._began = time.perf_counter()
        self._stop_passed: float | None = None

    def say(self, text: str = "", indent: str = "") -> None:
        """Prints a paragraph."""
        more = indent + "  " if indent else ""
        for line in textwrap.wrap(text, self.width, initial_indent=indent, subsequent_indent=more) or [""]:
            self._out.line(printable(line))

    def head(self) -> None:
        """Prints the titles of the columns."""
        self._row(" ", ("ms", "state", "node"), "what", DIM)

    def draw(self, recording: Recording) -> None:
        """Prints the picture of the recording, if there is room for it."""
        if self.width >= NARROWEST:
            print_picture(recording, self._out, self.width)
            self.say()

    def row_for(self, node: str, what: str | Callable[[T], str]) -> Callable[[Observable[T]], Observable[T]]:
        """An operator that prints a row for each pulse, behind the node that the row is about."""

        def print_row(value: T) -> None:
            now = (time.perf_counter() - self._began) * 1000
            mark = self._mark(node, now)
            cells = (f"{now:.1f}", self._connection.state.value, node)
            self._row(mark, cells, what if isinstance(what, str) else what(value), _STYLE_OF.get(node, ""))

        return ops.do_action(print_row)

    def _mark(self, node: str, now: float) -> str:
        """The sign at the left of a row."""
        opening, between, closing = "┌│└" if self._out.is_unicode else "+|+"
        if node == "WebSocket Client Stop":
            self._stop_passed = now
            return opening
        if self._stop_passed is None:
            return " "
        if node == "On WebSocket Stop":
            self.closing_took = now - self._stop_passed
            self._stop_passed = None
            return closing
        self.arrived_meanwhile += node == "On WebSocket Receive"
        return between

    def _row(self, mark: str, cells: tuple[str, str, str], what: str, style: str) -> None:
        when, state, node = cells
        room = self.width - self._INDENT
        if room >= self._LEAST:
            first, *more = textwrap.wrap(what, room)
            lines = [f"{mark} {when:>6}  {state:<10}  {node:<22}  {first}", *(" " * self._INDENT + it for it in more)]
        else:
            lines = textwrap.wrap(f"{mark} {when:>6}  {node}: {what}", self.width, subsequent_indent=" " * 10)
        for line in lines:
            self._out.line(self._out.painted(line, style))
