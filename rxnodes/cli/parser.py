"""The commands of `rxnodes`: their names, arguments and help.

It imports no command's module, so that each command starts quickly.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import rxnodes
from rxnodes.cli import arguments as of
from rxnodes.cli.fleets import ANSWER_WITHIN
from rxnodes.wire import IS_COMPILED

__all__ = ["make_parser"]


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. Its result has the command as `command`, `None` without one."""
    whole = argparse.ArgumentParser(
        prog="rxnodes",
        description="WebSocket nodes for RxPY that know when a connection has really ended.",
        epilog='New here? Run "rxnodes demo". "rxnodes COMMAND --help" says more about a command.',
        allow_abbrev=False,
    )
    build = "compiled" if IS_COMPILED else "pure Python"
    whole.add_argument("--version", action="version", version=f"rxnodes {rxnodes.__version__} ({build})")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for add in (
        *(_add_demo, _add_check, _add_toolbox, _add_listen, _add_echo),
        *(_add_run, _add_draw, _add_inspect, _add_fleet),
    ):
        add(commands)
    return whole


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _add_command(commands: _Commands, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=text, allow_abbrev=False)


def _add_demo(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "demo",
        "see all seven nodes at work, in less than a second",
        "Starts a WebSocket server on this machine, connects to it, and prints what each of the seven nodes does and"
        " when. It needs no settings and no network, and ends by itself.",
    )
    parser.add_argument(
        "--fleet",
        action="store_true",
        help="see a fleet at work instead, in half a minute: three workers on a NATS server, of which one is killed",
    )
    _add_record(parser)
    _add_live_page(parser, "then wait, so that it can be played again there, until Ctrl+C")


def _add_check(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "check",
        "say whether the project settings are good, and what is in them",
        "Loads the settings folder as a project does, with the environment on top. Prints the settings (never a"
        " secret), or else all problems at once. The exit status is 0 if the settings are good, and 1 if not.",
    )
    _add_settings(parser)


def _add_toolbox(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "toolbox",
        "list the nodes with their attributes, inputs, outputs and scopes",
        "Lists the nodes of the plugins that are switched on.",
    )
    parser.add_argument(
        "--settings",
        metavar="FOLDER",
        help='the settings folder that switches plugins (default: "settings" if there is one, or else all are on)',
    )
    parser.add_argument("--json", action="store_true", help="print JSON: one array of nodes")


def _add_listen(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "listen",
        "connect, print the messages until the connection ends, and send typed lines",
        "Connects to a server. Messages go to standard output, one a line; the lifecycle of the connection goes to"
        " standard error. Each line of standard input, typed or piped, is sent as a text message; lines wait until the"
        " connection is open, and the end of the input ends nothing. Ctrl+C (or SIGTERM) closes the connection and"
        " waits until it has ended; a second one aborts it. The exit status is 0 if the connection ended cleanly, 1 if"
        " not, 130 after Ctrl+C and 143 after SIGTERM.",
    )
    parser.add_argument(
        "target", metavar="NAME|URL", help="a connection that the settings name, or a ws:// or wss:// URL"
    )
    parser.add_argument(
        "--settings",
        default="settings",
        metavar="FOLDER",
        help="the settings folder, which a URL does not need (default: %(default)s)",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        type=of.header,
        metavar="'Name: value'",
        help="send this header with the handshake, in place of the settings' one of that name; may be repeated",
    )
    parser.add_argument(
        "--subprotocol",
        action="append",
        default=[],
        metavar="NAME",
        help="offer this subprotocol, in place of those in the settings; may be repeated, the preferred first",
    )
    parser.add_argument(
        "--send",
        action="append",
        default=[],
        type=of.message,
        metavar="TEXT",
        help="send this each time the connection is open; several are sent in order",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print messages and lifecycle to standard output, as one JSON object a line; binary messages as base64",
    )
    _add_fleet_of(
        parser,
        "listen to a connection of the fleet on the NATS servers at this URL, or at that of fleet.toml: it is"
        " neither started nor stopped, and Ctrl+C ends the listening alone",
    )
    _add_record(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="?", default="settings", metavar="SETTINGS", help="the folder (%(default)s)")


def _add_address(parser: argparse.ArgumentParser, kind: str, *, port: int, dest: str = "port") -> None:
    port_help = "the port; 0: any free one (%(default)s)"
    parser.add_argument("--port", dest=dest, type=of.port, default=port, metavar="N", help=port_help)
    parser.add_argument(
        "--host", default="127.0.0.1", help=f"the {kind} to listen on, or its name (default: %(default)s)"
    )


def _add_fleet_of(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--fleet", nargs="?", const="", type=of.servers, metavar="URL", help=text)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", metavar="FILE", help='record to this file, without the contents of messages; see "rxnodes draw"'
    )


def _add_draw(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "draw",
        "draw a recording of --record or of a Recorder",
        "Draws a recording: a lane for each connection, with its states, messages, pulses and ends. The exit status is"
        " 1 if the file is no recording.",
    )
    parser.add_argument("file", metavar="FILE", help="the recording")
    parser.add_argument(
        "--to",
        choices=["svg", "mermaid", "text"],
        help="the kind of picture (default: by the name of the output; text on a terminal; or else svg)",
    )
    parser.add_argument("--output", metavar="FILE", help="where to (default: standard output)")


def _add_echo(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "echo",
        "run a server that sends every message back",
        "Runs a WebSocket server that sends every message back, to try a client with. It prints where it listens, and"
        " when connections begin and end. It accepts the first subprotocol that a client offers. Ctrl+C (or SIGTERM)"
        " closes every connection with 1001 (going away) and ends it.",
    )
    _add_address(parser, "IPv4 address", port=8080)


def _add_run(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "run",
        "open a project, and run a function of yours with it",
        "Opens a project with the settings folder, and calls the function with it before anything is started. A"
        " coroutine function runs until it returns; with any other function, the project runs until Ctrl+C (or"
        " SIGTERM). Then every connection is stopped and has ended. Modules are found in the current directory, too.",
    )
    parser.add_argument("function", type=of.function, metavar="MODULE:FUNCTION", help="such as app:main")
    _add_settings(parser)
    _add_fleet_of(
        parser,
        "run as a worker of a fleet, on the NATS servers at this URL, or at that of fleet.toml: the workers share"
        " the connections; ending one drains it, and the others take over",
    )
    _add_record(parser)
    _add_live_page(parser, "its URL goes to standard error")


def _add_inspect(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "inspect",
        "show the connections of the settings on a live page, and start and stop them there",
        "Opens a project with the settings folder, starts nothing, and serves a page that shows its connections, and"
        " starts and stops them. It prints the URL; everyone who has it can use the page. Ctrl+C (or SIGTERM) stops"
        " every connection, waits until it has ended, and ends the command.",
    )
    _add_settings(parser)
    _add_address(parser, "IP address", port=0, dest="inspect")
    _add_fleet_of(
        parser,
        "show the connections of the fleet on the NATS servers at this URL, or at that of fleet.toml, as they are"
        " seen from outside; Ctrl+C ends the page alone",
    )
    _add_token_file(parser)


def _add_fleet(commands: _Commands) -> None:
    parser = _add_command(
        commands,
        "fleet",
        "look at a fleet of workers, and start, stop, drain and rebalance it",
        "Workers are programs that run with `rxnodes run --fleet`. The fleet is the one of fleet.toml in the settings"
        f" folder, or the one on the NATS servers at --fleet. A server has {ANSWER_WITHIN:g} s to answer.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for add in (_add_status, _add_start, _add_stop, _add_drain, _add_rebalance):
        action = add(actions)
        action.add_argument("--fleet", default="", type=of.servers, metavar="URL", help="such as nats://127.0.0.1:4222")
        action.add_argument(
            "--settings", default="settings", metavar="FOLDER", help="the settings folder (%(default)s)"
        )


def _add_status(actions: _Commands) -> argparse.ArgumentParser:
    parser = _add_command(
        actions,
        "status",
        "show the workers, and who holds which connection",
        "Shows the workers, and of each connection its state, its session, and the worker that holds it. It waits for a"
        " sign of life of each worker, up to a third of a lease.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a connection; none: all")
    parser.add_argument("--json", action="store_true", help="print JSON: one object")
    return parser


def _add_start(actions: _Commands) -> argparse.ArgumentParser:
    parser = _add_command(
        actions,
        "start",
        "start connections",
        "Starts connections, whichever worker holds them, and waits until they are open. Ctrl+C ends the waiting, and"
        " not the starting. The exit status is 1 if one did not open.",
    )
    _add_names(parser)
    return parser


def _add_stop(actions: _Commands) -> argparse.ArgumentParser:
    parser = _add_command(
        actions,
        "stop",
        "stop connections",
        "Stops connections, whichever worker holds them, and waits until they have ended. Ctrl+C ends the waiting, and"
        " not the stopping.",
    )
    _add_names(parser)
    parser.add_argument("--code", type=of.close_code, default=1000, metavar="N", help="the close code (%(default)s)")
    parser.add_argument("--reason", type=of.reason, default="", metavar="TEXT", help="the close reason")
    return parser


def _add_names(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("names", nargs="*", default=[], metavar="NAME", help="a connection")
    which.add_argument("--all", action="store_true", help="all connections of the fleet")


def _add_drain(actions: _Commands) -> argparse.ArgumentParser:
    parser = _add_command(
        actions,
        "drain",
        "have workers leave in order",
        "Has workers end their sessions in order, let everything go, and end. The others take over at once.",
    )
    parser.add_argument("workers", nargs="+", metavar="WORKER", help="its id, or its host, as status shows them")
    return parser


def _add_rebalance(actions: _Commands) -> argparse.ArgumentParser:
    return _add_command(
        actions,
        "rebalance",
        "let workers that came later have their share",
        "Moves connections to the workers that should have them, a few at a time. The session of a connection that"
        " moves is stopped in order, and another begins.",
    )


def _add_live_page(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument(
        "--inspect",
        nargs="?",
        const=0,
        type=of.port,
        metavar="PORT",
        help=f"serve a live page of the connections, at any free port unless one is given; {more}",
    )
    _add_token_file(parser)


def _add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the token of the live page, which then goes on when the program is run again (default: a new token"
        " each time)",
    )
