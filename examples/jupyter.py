"""Runs cells in a kernel of a Jupyter server: python examples/jupyter.py http://HOST:8888 TOKEN 'print(1)' '6 * 7'."""

import contextlib
import sys
from typing import Any
from uuid import uuid4

import aiohttp
from reactivex import Observable, concat, defer, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Attempt, ConnectError, Connection, ConnectOptions, Project
from rxnodes.websocket import on_start, request_stream

OUTPUTS = {"stream", "display_data", "execute_result", "error"}


def message(number: str, kind: str, channel: str, **content: Any) -> dict[str, Any]:
    """Makes a message of Jupyter's protocol."""
    header = {"msg_id": number, "msg_type": kind}
    return {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}


def run(kernel: Connection, code: str) -> Observable[Any]:
    """Emits the outputs of a cell. Disposed before its end, the cell is interrupted."""
    number = str(uuid4())
    return request_stream(
        kernel,
        message(number, "execute_request", "shell", code=code, stop_on_error=False),
        match=lambda it: it["parent_header"].get("msg_id") == number,
        until=lambda it: it["content"].get("execution_state") == "idle",
        cancel=message(str(uuid4()), "interrupt_request", "control"),
        codec="json",
    ).pipe(ops.filter(lambda it: it["msg_type"] in OUTPUTS), ops.map(lambda it: it["content"]))


async def main(server: str, token: str, *cells: str) -> None:
    """Runs them whenever the connection opens, each time with new numbers, until Ctrl+C."""
    headers = {"Authorization": f"token {token}"}

    async def find_kernel(_: Attempt) -> ConnectOptions:
        console = {"path": "rxnodes", "name": "rxnodes", "type": "console"}
        try:
            async with aiohttp.ClientSession(server, headers=headers, raise_for_status=True) as http:
                session = await (await http.post("/api/sessions", json=console)).json()
        except aiohttp.ClientError as error:
            raise ConnectError(str(error), status=getattr(error, "status", None)) from error
        return ConnectOptions(url=f"ws{server[4:]}/api/kernels/{session['kernel']['id']}/channels")

    settings = {"url": f"ws{server[4:]}", "headers": headers, "before_connect": find_kernel}
    async with Project(websocket={"kernel": {**settings, "reconnect": {"enabled": True}}}) as project:
        kernel = project.websocket("kernel")
        outputs = defer(lambda _: concat(*(run(kernel, cell) for cell in cells)))
        results = outputs.pipe(ops.catch(lambda error, _: of(error)))
        project.subscribe(on_start(kernel).pipe(ops.flat_map(results), ops.do_action(print)))
        kernel.start()
        await kernel.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
