"""The command line: `rxnodes demo`, `check`, `toolbox` and `listen`.

Exit statuses: 0 when all went well, 1 when it did not, 2 for a command that cannot be understood, 130 after Ctrl+C and
143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import re
import select
import shutil
import stat
import sys
import textwrap
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO, TypeVar, cast

from pydantic import BaseModel
from reactivex import operators as ops

import rxnodes
from rxnodes import settings
from rxnodes.codecs import Codec
from rxnodes.errors import RxNodesError
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.project.project import Project, installed_plugins
from rxnodes.project.run import run
from rxnodes.rx.trigger import pulse
from rxnodes.testing import CloseReceived, Peer, WebSocketServer
from rxnodes.websocket import client_send, client_start, client_stop, on_error, on_receive, on_start, on_stop
from rxnodes.websocket.settings import WebSocketSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from reactivex import Observable

    from rxnodes.catalogue.plugins import Node, Port
    from rxnodes.catalogue.toolbox import Toolbox
    from rxnodes.connection.connection import Connection

__all__ = ["main"]

T = TypeVar("T")

_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments; by default the process's.

    Returns:
        The exit status.

    Raises:
        SystemExit: After `--help` and `--version`, and with 2 for arguments that cannot be understood.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.run is None:
        parser.print_help(sys.stderr)
        return 2
    out, err = _Output(sys.stdout), _Output(sys.stderr)
    try:
        status: int = options.run(options, out, err)
    except (RxNodesError, OSError) as error:
        err.lines(f"rxnodes: {error}")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as end:
        return int(end.code or 0)
    if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
        err.line(f"rxnodes: cannot write to standard output: {out.failure.strerror}")
        return 1
    return status


# --- Arguments --------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rxnodes",
        description="WebSocket nodes for RxPY that know when a connection has really ended.",
        epilog='New here? Run "rxnodes demo". "rxnodes COMMAND --help" says more about a command.',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rxnodes {rxnodes.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_check(commands)
    _add_toolbox(commands)
    _add_listen(commands)
    return parser


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _add_command(
    commands: _Commands,
    name: str,
    command: Callable[[argparse.Namespace, _Output, _Output], int],
    summary: str,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=text, allow_abbrev=False)
    parser.set_defaults(run=command)
    return parser


def _add_demo(commands: _Commands) -> None:
    _add_command(
        commands,
        "demo",
        _demo,
        "see all seven nodes at work, in less than a second",
        "Starts a WebSocket server on this machine, connects to it, and prints what each of the seven nodes does and"
        " when. It needs no settings and no network, and ends by itself.",
    )


def _add_check(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "check",
        _check,
        "say whether the project settings are good, and what is in them",
        "Loads the settings folder as a project does, with the environment on top. Prints what is in it (never a"
        " secret), or else all problems at once. The exit status is 0 if the settings are good, and 1 if not.",
    )
    parser.add_argument("settings", nargs="?", default="settings", metavar="SETTINGS", help="the folder (%(default)s)")


def _add_toolbox(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "toolbox",
        _toolbox,
        "list the nodes with their attributes, inputs, outputs and scopes",
        "Lists the nodes of the plugins that are switched on.",
    )
    parser.add_argument(
        "--settings",
        metavar="FOLDER",
        help='the settings folder that switches plugins (default: "settings" where there is one, or else all are on)',
    )
    parser.add_argument("--json", action="store_true", help="print JSON: one array of nodes")


def _add_listen(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "listen",
        _listen,
        "connect by name, and print what comes until the connection ends",
        "Starts the connection of that name. Messages go to standard output, one a line; what happens to the"
        " connection goes to standard error. Ctrl+C (or SIGTERM) closes the connection and waits until it has ended; a"
        " second one aborts it. The exit status is 0 if the connection ended cleanly, 1 if not, 130 after Ctrl+C and"
        " 143 after SIGTERM.",
    )
    parser.add_argument("name", metavar="NAME", help="a connection that the settings name")
    parser.add_argument(
        "--settings", default="settings", metavar="FOLDER", help="the settings folder (default: %(default)s)"
    )
    parser.add_argument(
        "--send",
        action="append",
        default=[],
        type=_message,
        metavar="TEXT",
        help="send this each time the connection is open; several are sent in order",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print messages and lifecycle to standard output, as one JSON object a line; binary messages as base64",
    )


def _message(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not valid UTF-8") from None
    return text


# --- demo -------------------------------------------------------------------------------------------------------------

_LAST_WORDS: Final = ("one more thing", "and another", "that was all")
_PACE: Final = 0.06


def _demo(_options: argparse.Namespace, out: _Output, _err: _Output) -> int:
    return run(_play(out))


async def _play(out: _Output) -> int:
    """Plays one connection from start to end, and prints what each node does."""
    async with WebSocketServer(_slow_to_close) as server:
        project = Project(websocket={"demo": {"url": server.url, "connect_timeout": 2, "close_timeout": 2}})
        demo = project.websocket("demo")
        out.line(f"rxnodes {rxnodes.__version__}: seven nodes, one real WebSocket, a server at port {server.port}")
        out.line()
        timeline = _Timeline(out, demo)
        tell = timeline.tell
        async with project:
            project.subscribe(
                on_start(demo).pipe(
                    tell("On WebSocket Start", "open: messages can be sent"),
                ),
                on_start(demo).pipe(
                    client_send(demo, "hello"),
                    tell("WebSocket Client Send", '"hello"'),
                ),
                on_receive(demo).pipe(
                    tell("On WebSocket Receive", _quoted),
                ),
                on_receive(demo).pipe(
                    ops.filter(lambda text: text == "hello"),
                    client_stop(demo),
                    tell("WebSocket Client Stop", "the pulse has passed already"),
                ),
                on_stop(demo).pipe(
                    tell("On WebSocket Stop", _ending),
                ),
                on_stop(demo).pipe(
                    client_send(demo, "too late"),
                    tell("WebSocket Client Send", '"too late"'),
                ),
                on_error(demo).pipe(
                    tell("On WebSocket Error", _problem),
                ),
                pulse().pipe(
                    client_start(demo),
                    tell("WebSocket Client Start", "the pulse has passed already"),
                ),
            )
            stopped = await demo.wait_stopped()
    out.line()
    if not stopped.was_clean:
        out.line("This is not how the demo should end: a connection within this machine broke.")
        return 1
    _sum_up(timeline, out)
    return 0


async def _slow_to_close(peer: Peer) -> None:
    """Sends every message back. Asked to close, it says first what it still had to say, as a busy server does."""
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


def _quoted(text: str) -> str:
    return f'"{text}"'


def _ending(stopped: Stopped) -> str:
    return f'over: {stopped.code} "{stopped.reason}", {_cleanness(stopped)}'


def _problem(event: ErrorEvent) -> str:
    return event.message


def _sum_up(timeline: _Timeline, out: _Output) -> None:
    told = (
        "WebSocket Client Stop let its pulse pass at once; the connection had really ended, and On WebSocket Stop"
        f" fired, {timeline.closing_took:.1f} ms later. The {timeline.arrived_meanwhile} messages that still came in"
        " between were delivered first. What must run after the end belongs behind On WebSocket Stop: it fires exactly"
        " once for each start, however that ends."
    )
    out.lines(textwrap.fill(told, timeline.width))
    out.line()
    out.line("Next: the README writes such a graph in a few lines of Python.")
    out.line('      "rxnodes toolbox" lists the nodes, "rxnodes --help" what else there is.')


class _Timeline:
    """Prints a row whenever a node has done its work. A bracket at the left joins the stop with its end.

    Attributes:
        width: Columns that a row may have.
        closing_took: Milliseconds from the stop's pulse to On WebSocket Stop.
        arrived_meanwhile: How many messages came between them.
    """

    _INDENT: Final = 46
    _NARROWEST: Final = 24

    def __init__(self, out: _Output, connection: Connection) -> None:
        self.width = max(shutil.get_terminal_size().columns - 1, self._INDENT + self._NARROWEST)
        self.closing_took = 0.0
        self.arrived_meanwhile = 0
        self._out = out
        self._connection = connection
        self._began = time.perf_counter()
        self._stop_passed: float | None = None
        self._row(" ", ("ms", "state", "node"), "what", _DIM)

    def tell(self, node: str, what: str | Callable[[T], str]) -> Callable[[Observable[T]], Observable[T]]:
        """An operator that prints a row for each pulse that comes out of the node before it."""

        def print_row(value: T) -> None:
            now = (time.perf_counter() - self._began) * 1000
            mark = self._mark(node, now)
            cells = (f"{now:.1f}", self._connection.state.value, node)
            self._row(mark, cells, what if isinstance(what, str) else what(value), _STYLE_OF.get(node, ""))

        return ops.do_action(print_row)

    def _mark(self, node: str, now: float) -> str:
        """What stands at the left of a row."""
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
        first, *more = textwrap.wrap(what, self.width - self._INDENT)
        self._out.line(self._out.painted(f"{mark} {when:>6}  {state:<10}  {node:<22}  {first}", style))
        for text in more:
            self._out.line(self._out.painted(" " * self._INDENT + text, style))


# --- check ------------------------------------------------------------------------------------------------------------


def _check(options: argparse.Namespace, out: _Output, _err: _Output) -> int:
    installed = installed_plugins()
    found = settings.load(options.settings, installed)
    out.line(f"The settings in {options.settings} are good.")
    out.line()
    out.line("Plugins")
    for name, plugin in installed.items():
        state = "on" if name in found.sections else f"off, by {found.switches[name]}"
        out.line(f"  {plugin.title}: {state}")
    section = found.sections.get("websocket")
    if isinstance(section, WebSocketSettings):
        out.line()
        _print_connections(section, out)
    return 0


def _print_connections(section: WebSocketSettings, out: _Output) -> None:
    out.line("WebSocket connections" if section.connections else "WebSocket connections: none")
    width = max(map(len, section.connections), default=0)
    for name, connection in section.connections.items():
        out.line(f"  {name:<{width}}  {connection.target().redacted_url}")
        for note in _notes(connection):
            out.line(_printable(f"  {'':<{width}}  - {note}"))


#: What the redacted URL shows.
_IN_URL: Final = frozenset({"url", "port", "query"})

#: What is said of a value beside it.
_WARNINGS: Final = {("tls.verify", "off"): " (NOT VERIFIED: anyone can pose as the server)"}


def _notes(model: BaseModel, around: str = "") -> Iterator[str]:
    """What is set otherwise than it would be by default, of all fields that there are."""
    for name, info in type(model).model_fields.items():
        value: object = getattr(model, name)
        path = around + name
        if path in _IN_URL or value == info.get_default(call_default_factory=True, validated_data={}):
            continue
        if isinstance(value, BaseModel):
            yield from _notes(value, f"{path}.")
        else:
            text = _shown(value)
            yield f"{path}: {text}{_WARNINGS.get((path, text), '')}"


def _shown(value: object) -> str:
    """A setting's value, as the settings write it: of a table the names, and nothing of a secret."""
    match value:
        case None:
            text = "none"
        case bool():
            text = "on" if value else "off"
        case float():
            text = f"{value:.10g}"
        case str() | int() | Path():
            text = str(value)
        case Codec():
            text = value.name
        case Mapping():
            text = ", ".join(cast("Mapping[str, object]", value))
        case frozenset():
            text = ", ".join(map(str, sorted(cast("frozenset[int]", value))))
        case tuple():
            text = ", ".join(map(str, cast("tuple[object, ...]", value)))
        case _:
            text = "***"
    return text


# --- toolbox ----------------------------------------------------------------------------------------------------------


def _toolbox(options: argparse.Namespace, out: _Output, _err: _Output) -> int:
    toolbox = _project_for_toolbox(options.settings).toolbox
    if options.json:
        out.lines(json.dumps([_node_as_json(node) for node in toolbox], indent=2, default=str))
    elif toolbox:
        _print_toolbox(toolbox, out)
    else:
        out.line("The toolbox is empty: every plugin is switched off.")
    return 0


def _project_for_toolbox(folder: str | None) -> Project:
    if folder is not None:
        return Project.load(folder)
    return Project.load() if Path("settings").is_dir() else Project()


def _print_toolbox(toolbox: Toolbox, out: _Output) -> None:
    for node in toolbox:
        out.line(out.painted(node.name, _BOLD) + f" ({node.kind}, in {' and '.join(node.scopes)})")
        out.line(f"  {node.description}")
        out.line(f"  {'Python':<10}  {node.function.__name__}")
        attributes = [
            (
                f"{attribute.name}: {attribute.type}"
                + ("" if attribute.default is None else f" = {attribute.default!r}"),
                attribute.description,
            )
            for attribute in node.attributes
        ]
        _print_parts(out, "attributes", attributes)
        _print_parts(out, "inputs", [_port(port) for port in node.inputs])
        _print_parts(out, "outputs", [_port(port) for port in node.outputs])
        out.line()


def _port(port: Port) -> tuple[str, str]:
    return f"{port.name}: {port.type}", port.description


def _print_parts(out: _Output, title: str, parts: list[tuple[str, str]]) -> None:
    for number, (what, description) in enumerate(parts):
        out.line(f"  {title if number == 0 else '':<10}  {what:<46}  {description}")


def _node_as_json(node: Node) -> dict[str, Any]:
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    function = node.function
    return fields | {
        "attributes": [dataclasses.asdict(attribute) for attribute in node.attributes],
        "inputs": [dataclasses.asdict(port) for port in node.inputs],
        "outputs": [dataclasses.asdict(port) for port in node.outputs],
        "function": f"{function.__module__}:{function.__qualname__}",
    }


# --- listen -----------------------------------------------------------------------------------------------------------


def _listen(options: argparse.Namespace, out: _Output, err: _Output) -> int:
    # Outside the event loop, which it would hold up: the first load of a folder imports what reads it.
    project = Project.load(options.settings)
    return run(_receive(project, options, out, err))


async def _receive(project: Project, options: argparse.Namespace, out: _Output, err: _Output) -> int:
    connection = project.websocket(options.name)
    task = cast("asyncio.Task[int]", asyncio.current_task())

    def is_interrupted() -> bool:
        return task.cancelling() > 0

    show: _Show = _JsonLines(out, connection) if options.json else _TextLines(out, err, is_interrupted)
    out.gives_up = err.gives_up = is_interrupted
    async with project:
        with out.calling_when_gone(connection.stop):
            project.subscribe(
                connection.lifecycle.pipe(ops.do_action(show.event)),
                on_receive(connection, is_binary=None).pipe(ops.do_action(show.message)),
                on_start(connection).pipe(*(client_send(connection, text, codec=None) for text in options.send)),
                pulse().pipe(client_start(connection)),
            )
            stopped = await connection.wait_stopped()
    return 0 if stopped.was_clean else 1


class _Show(Protocol):
    """Prints what happens to a connection."""

    def event(self, event: LifecycleEvent) -> None: ...

    def message(self, message: str | bytes) -> None: ...


class _TextLines:
    """For people: messages to standard output, the lifecycle to standard error."""

    def __init__(self, out: _Output, err: _Output, is_interrupted: Callable[[], bool]) -> None:
        self._out = out
        self._err = err
        self._is_interrupted = is_interrupted

    def event(self, event: LifecycleEvent) -> None:
        text = _described(event)
        if isinstance(event, Closing) and self._is_interrupted():
            text += " (Ctrl+C again aborts)"
        when = event.at.astimezone().isoformat(sep=" ", timespec="milliseconds")[11:23]
        style = _RED if isinstance(event, ErrorEvent) else _DIM
        self._err.line(self._err.painted(_printable(f"{when}  {text}"), style))

    def message(self, message: str | bytes) -> None:
        self._out.line(_printable(message) if isinstance(message, str) else _hex(message))


class _JsonLines:
    """For programs: everything to standard output, one JSON object a line."""

    def __init__(self, out: _Output, connection: Connection) -> None:
        self._out = out
        self._connection = connection

    def event(self, event: LifecycleEvent) -> None:
        kind = "error" if isinstance(event, ErrorEvent) else type(event).__name__.lower()
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        self._print({"event": kind, **fields})

    def message(self, message: str | bytes) -> None:
        fields: dict[str, Any] = {
            "event": "message",
            "connection": self._connection.name,
            "session": self._connection.session,
            "at": datetime.now(UTC),
        }
        if isinstance(message, str):
            fields["text"] = message
        else:
            fields["base64"] = base64.b64encode(message).decode()
        self._print(fields)

    def _print(self, fields: dict[str, Any]) -> None:
        self._out.line(json.dumps(fields, default=_plain))


def _plain(value: object) -> object:
    """What JSON has no form for: times and exceptions."""
    if isinstance(value, datetime):
        return value.isoformat()
    return {"type": type(value).__name__, "message": str(value)}


def _described(event: LifecycleEvent) -> str:
    """A lifecycle event in words."""
    match event:
        case Connecting():
            text = f"connecting to {event.url}" + (f", attempt {event.attempt}" if event.attempt > 1 else "")
        case Opened():
            again = " again" if event.is_reconnect else ""
            subprotocol = f", subprotocol {event.subprotocol}" if event.subprotocol else ""
            text = f"open{again} after {event.elapsed * 1000:.0f} ms{subprotocol}"
        case Dropped():
            text = f"dropped: {_end(event)}; next attempt in {event.retry_in:.1f} s"
        case Closing():
            text = f"closing, begun {_BEGUN[event.initiator]}"
        case Stopped():
            text = f"stopped: {_end(event)}, ended {_ENDED[event.initiator]}; {_traffic(event)}"
        case ErrorEvent():
            text = f"error ({event.phase}): {event.message}"
        case _:
            text = type(event).__name__
    return text


_BEGUN: Final = {
    Initiator.LOCAL: "by us",
    Initiator.REMOTE: "by the server",
    Initiator.NETWORK: "by the network",
    Initiator.TIMEOUT: "by us",
}

_ENDED: Final = _BEGUN | {Initiator.TIMEOUT: "by us after the server did not answer in time"}


def _end(event: Stopped | Dropped) -> str:
    name = f" {CloseCode(event.code).name.lower().replace('_', ' ')}" if event.code in set(CloseCode) else ""
    reason = f' "{event.reason}"' if event.reason else ""
    return f"{event.code}{name}{reason}, {_cleanness(event)}"


def _cleanness(event: Stopped | Dropped) -> str:
    return "clean" if event.was_clean else "not clean"


def _traffic(stopped: Stopped) -> str:
    received = f"{stopped.messages_received} received ({stopped.bytes_received} bytes)"
    sent = f"{stopped.messages_sent} sent ({stopped.bytes_sent} bytes)"
    unsent = f", {stopped.unsent} unsent" if stopped.unsent else ""
    return f"{received}, {sent}{unsent}, in {stopped.duration:.1f} s"


# --- Output -----------------------------------------------------------------------------------------------------------

_DIM: Final = "2"
_BOLD: Final = "1"
_RED: Final = "31"

_STYLE_OF: Final = {"WebSocket Client Stop": _BOLD, "On WebSocket Stop": _BOLD, "On WebSocket Error": _RED}

_HEX_BYTES: Final = 32

#: Control characters (C0, DEL, C1), line separators, what changes the direction of writing, and halves of surrogate
#: pairs: whoever sends them could drive the terminal, or make a line look like another.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _printable(text: str) -> str:
    r"""The text in one line that is safe to print, with escapes such as \x1b in it."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _hex(message: bytes) -> str:
    more = " ..." if len(message) > _HEX_BYTES else ""
    return f"<{len(message)} bytes> {message[:_HEX_BYTES].hex(' ')}{more}"


class _Output:
    """Standard output or error. Every line goes out at once, and a write never raises.

    Attributes:
        failure: Why nothing can be written any more; `None`: it can.
        gives_up: Asked when the reader is behind: whether to write no more, rather than wait for it as programs do.
        is_unicode: Whether it takes more than ASCII.
    """

    _PATIENCE: Final = 0.2

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        self.is_unicode = stream is not None and stream.encoding.lower().startswith("utf")
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._has_colour = stream is not None and stream.isatty() and _is_colour_wanted()
        self.gives_up: Callable[[], bool] = lambda: False
        self._when_gone: Callable[[], object] = lambda: None

    def painted(self, text: str, style: str) -> str:
        """The text in a style, where there are colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self._has_colour else text

    def line(self, text: str = "") -> None:
        """Prints a line."""
        if self.failure is not None:
            return
        try:
            self._write(f"{text}\n")
        except OSError as error:
            self._fail(error)

    def lines(self, text: str) -> None:
        """Prints several lines, each safe to print."""
        for line in text.splitlines():
            self.line(_printable(line))

    @contextlib.contextmanager
    def calling_when_gone(self, when_gone: Callable[[], object]) -> Generator[None]:
        """For as long as the context lasts, calls `when_gone` once nobody reads any more."""
        self._when_gone = when_gone
        loop = asyncio.get_running_loop()
        pipe = self._descriptor if self._descriptor is not None and _is_pipe(self._descriptor) else None
        if pipe is not None:
            # The end of a pipe that is written to becomes "readable" when the other end is closed.
            loop.add_reader(pipe, self._on_reader_gone, loop, pipe)
        try:
            yield
        finally:
            if pipe is not None:
                loop.remove_reader(pipe)

    def _on_reader_gone(self, loop: asyncio.AbstractEventLoop, pipe: int) -> None:
        loop.remove_reader(pipe)
        self._fail(BrokenPipeError())

    def _fail(self, failure: OSError) -> None:
        if self.failure is None:
            self.failure = failure
            self._when_gone()

    def _write(self, text: str) -> None:
        # Started with its output closed, a process has no stream.
        if self._stream is None:
            return
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        rest = text.encode(self._stream.encoding, "backslashreplace")
        while rest:
            self._wait_for_room(self._descriptor)
            # What is no longer than this never blocks once there is room.
            rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]

    def _wait_for_room(self, descriptor: int) -> None:
        while not select.select((), (descriptor,), (), self._PATIENCE)[1]:
            if self.gives_up():
                raise BlockingIOError


def _is_colour_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _descriptor(stream: TextIO | None) -> int | None:
    """The stream's file descriptor; `None` where it has none, or the system cannot wait for it."""
    if stream is None or os.name == "nt":
        return None
    try:
        return stream.fileno()
    except OSError:
        return None


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
