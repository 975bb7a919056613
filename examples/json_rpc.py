"""Asks a language server what is in Python files: python examples/json_rpc.py ws://127.0.0.1:2087 FILE..."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from reactivex import Observable, merge, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Greeting, Project
from rxnodes.websocket import on_start
from rxnodes.websocket.jsonrpc import JsonRpc, json_rpc


async def log_in(greeting: Greeting) -> None:
    """Without this, a language server answers nothing else."""
    params: dict[str, Any] = {"processId": None, "rootUri": None, "capabilities": {}}
    await greeting.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    await greeting.receive(lambda message: message.get("id") == 0)
    await greeting.send({"jsonrpc": "2.0", "method": "initialized", "params": {}})


def names_in(server: JsonRpc, file: Path) -> Observable[Any]:
    """Opens a file, and emits the names that it defines, or what went wrong."""
    document = {"uri": file.resolve().as_uri(), "languageId": "python", "version": 1, "text": file.read_text()}
    server.notify("textDocument/didOpen", {"textDocument": document})
    symbols = server.call("textDocument/documentSymbol", {"textDocument": {"uri": document["uri"]}})
    return symbols.pipe(ops.map(lambda found: [it["name"] for it in found]), ops.catch(lambda error, _: of(error)))


async def main(url: str, *files: str) -> None:
    """Asks whenever the connection opens, and prints what the server finds wrong as it tells, until Ctrl+C."""
    settings = {"url": url, "codec": "json", "after_connect": log_in, "reconnect": {"enabled": True}}
    async with Project(websocket={"server": settings}) as project:
        connection = project.websocket("server")
        server = json_rpc(connection)
        names = on_start(connection).pipe(ops.flat_map(lambda _: merge(*(names_in(server, Path(it)) for it in files))))
        problems = server.notifications.pipe(ops.filter(lambda it: it.method == "textDocument/publishDiagnostics"))
        project.subscribe(
            names.pipe(ops.do_action(print)),
            problems.pipe(ops.do_action(lambda it: print([each["message"] for each in it.params["diagnostics"]]))),
        )
        connection.start()
        await connection.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
