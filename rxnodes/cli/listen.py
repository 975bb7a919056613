"""`rxnodes listen`: connects to a server, prints its messages until the connection ends, and sends typed lines."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from multidict import CIMultiDict
from reactivex import operators as ops

from rxnodes import settings
from rxnodes.cli.output import DIM, RED, hexadecimal, printable
from rxnodes.cli.pictures import recorded_to
from rxnodes.cli.standard_input import sending_input
from rxnodes.errors import PluginDisabled, RxNodesError, UnknownConfiguration
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.plain_values import plain_event
from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator
from rxnodes.project.plugin_settings import installed_plugins
from rxnodes.project.project import Project
from rxnodes.project.run import run as run_in_order
from rxnodes.rx.trigger import pulse
from rxnodes.websocket.action_nodes import client_send, client_start
from rxnodes.websocket.event_nodes import on_receive, on_start
from rxnodes.websocket.settings import SendQueueSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pydantic import BaseModel

    from rxnodes.cli.output import Output
    from rxnodes.connection.connection import Connection
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.fleet.remote.fleet import Fleet
    from rxnodes.websocket.settings import WebSocketSettings

__all__ = ["run"]

#: The name of a connection that is given by its URL.
_UNNAMED: Final = "server"


def run(options: argparse.Namespace, out: Output, err: Output) -> int:
    """Listens until the connection ends; the status says whether that was clean."""
    if options.fleet is not None:
        return _run_in_fleet(options, out, err)
    if "://" in options.target:
        name, fields = _UNNAMED, {"url": options.target}
    else:
        name, fields = options.target, _configured(options.target, options.settings)
    project = Project.of(_from_command_line({name: _with_options(fields, options)}))
    with recorded_to(options.record, project):
        return run_in_order(_listen(project, project.websocket(name), options, out, err))


def _from_command_line(connections: dict[str, Any]) -> settings.LoadedSettings:
    # The settings folder was checked when it was loaded. So each problem is one of the command line.
    values = {"websocket": {"connections": connections}}
    return settings.from_values(values, installed_plugins(), lambda _: "the command line")


def _configured(name: str, folder: str) -> dict[str, Any]:
    """The fields that the settings folder has for the connection of that name."""
    loaded = settings.load(folder, installed_plugins())
    if "websocket" not in loaded.sections:
        raise PluginDisabled("websocket", loaded.switches["websocket"])
    connections = cast("WebSocketSettings", loaded.sections["websocket"]).connections
    if name not in connections:
        raise UnknownConfiguration(name, connections)
    return _set_fields(connections[name])


def _set_fields(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.model_fields_set}


def _with_options(fields: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The fields with the headers and subprotocols of the command line, and a queue in which lines can wait."""
    headers = CIMultiDict(fields.get("headers", {}))
    headers.update(options.header)
    queue = _set_fields(fields.get("send_queue", SendQueueSettings()))
    fields = {**fields, "headers": dict(headers), "send_queue": {**queue, "while_connecting": True}}
    return {**fields, "subprotocols": options.subprotocol} if options.subprotocol else fields


def _run_in_fleet(options: argparse.Namespace, out: Output, err: Output) -> int:
    """Listens to a connection of a fleet until Ctrl+C. The connection itself goes on.

    Raises:
        RxNodesError: If the target is a URL, or an option would change the connection.
    """
    from rxnodes.cli.fleets import observed_fleet, store_of  # noqa: PLC0415 - few need it
    from rxnodes.fleet.remote.fleet import Fleet  # noqa: PLC0415

    if "://" in options.target:
        raise RxNodesError("--fleet: a connection of a fleet has a name; the URL is the workers'")
    for option in ("header", "subprotocol", "record"):
        if getattr(options, option):
            raise RxNodesError(f"--{option} cannot be used with --fleet: the connection is the workers'")
    fleet = observed_fleet(options.fleet, options.settings)
    return run_in_order(_listen_in(Fleet(store_of(fleet, is_observer=True)), options, out, err))


async def _listen_in(fleet: Fleet, options: argparse.Namespace, out: Output, err: Output) -> int:
    async with fleet:
        if options.target not in fleet.names:
            raise UnknownConfiguration(options.target, fleet.names)
        connection = fleet.websocket(options.target)
        show: _Show = _JsonLines(out, connection) if options.json else _TextLines(out, err, lambda: False)
        connection.lifecycle.subscribe(show.event)
        on_receive(connection, codec=None).subscribe(show.message)
        for text in options.send:
            on_start(connection).pipe(client_send(connection, text, codec=None)).subscribe()
            if connection.state is ConnectionState.OPEN:
                # It had opened before this listened.
                connection.send(text, codec=None)
        err.line(printable(f"{connection.name} is {connection.state}, session {connection.session}"))
        # After the subscriptions: the holder must know of this listener before it gets a line from it.
        async with sending_input(connection, out, err):
            await out.until_unread()
    return 0


async def _listen(
    project: Project, connection: Connection, options: argparse.Namespace, out: Output, err: Output
) -> int:
    task = cast("asyncio.Task[int]", asyncio.current_task())

    def is_interrupted() -> bool:
        return task.cancelling() > 0

    show: _Show = _JsonLines(out, connection) if options.json else _TextLines(out, err, is_interrupted)
    out.on_failure = connection.stop
    # Standard input is the outermost: keys, above all Ctrl+C, must work until the connection has ended.
    async with sending_input(connection, out, err), project:
        project.subscribe(
            connection.lifecycle.pipe(ops.do_action(show.event)),
            on_receive(connection, codec=None).pipe(ops.do_action(show.message)),
            on_start(connection).pipe(*(client_send(connection, text, codec=None) for text in options.send)),
            pulse().pipe(client_start(connection)),
        )
        stopped = await connection.wait_stopped()
    return 0 if stopped.was_clean else 1


class _Show(Protocol):
    """Prints the events and messages of a connection."""

    def event(self, event: LifecycleEvent) -> None: ...

    def message(self, message: str | bytes) -> None: ...


class _TextLines:
    """For people: messages to standard output, the lifecycle to standard error."""

    def __init__(self, out: Output, err: Output, is_interrupted: Callable[[], bool]) -> None:
        self._out = out
        self._err = err
        self._is_interrupted = is_interrupted

    def event(self, event: LifecycleEvent) -> None:
        text = _described(event)
        if isinstance(event, Closing) and self._is_interrupted():
            text += " (Ctrl+C again aborts)"
        when = event.at.astimezone().isoformat(sep=" ", timespec="milliseconds")[11:23]
        style = RED if isinstance(event, ErrorEvent) else DIM
        self._err.line(self._err.painted(printable(f"{when}  {text}"), style))

    def message(self, message: str | bytes) -> None:
        self._out.line(printable(message) if isinstance(message, str) else hexadecimal(message))


class _JsonLines:
    """For programs: everything to standard output, one JSON object a line."""

    def __init__(self, out: Output, connection: ConnectionLike) -> None:
        self._out = out
        self._connection = connection

    def event(self, event: LifecycleEvent) -> None:
        kind = "error" if isinstance(event, ErrorEvent) else type(event).__name__.lower()
        self._out.line(json.dumps({"event": kind, **plain_event(event)}))

    def message(self, message: str | bytes) -> None:
        fields: dict[str, Any] = {
            "event": "message",
            "connection": self._connection.name,
            "session": self._connection.session,
            "at": datetime.now(UTC).isoformat(),
        }
        if isinstance(message, str):
            fields["text"] = message
        else:
            fields["base64"] = base64.b64encode(message).decode()
        self._out.line(json.dumps(fields))


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
    return f"{event.code}{name}{reason}, {'clean' if event.was_clean else 'not clean'}"


def _traffic(stopped: Stopped) -> str:
    received = f"{stopped.messages_received} received ({stopped.bytes_received} bytes)"
    sent = f"{stopped.messages_sent} sent ({stopped.bytes_sent} bytes)"
    unsent = f", {stopped.unsent} unsent" if stopped.unsent else ""
    return f"{received}, {sent}{unsent}, in {stopped.duration:.1f} s"
