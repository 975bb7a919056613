"""Has Chrome evaluate expressions: python examples/devtools.py http://127.0.0.1:9222 '6 * 7' 'console.log("hello")'."""

import contextlib
import itertools
import sys
from typing import Any

import aiohttp
from reactivex import Observable, merge, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Attempt, ConnectError, Connection, ConnectOptions, Project
from rxnodes.websocket import on_receive, on_start, request

numbers = itertools.count(1)


def call(page: Connection, method: str, **params: Any) -> Observable[Any]:
    """Calls a method, and emits its result or its error."""
    number = next(numbers)
    message = {"id": number, "method": method, "params": params}
    answer = request(page, message, match=("id", number), codec="json")
    return answer.pipe(ops.map(lambda it: it.get("result", it.get("error"))), ops.catch(lambda error, _: of(error)))


async def main(browser: str, *expressions: str) -> None:
    """Evaluates them whenever the connection opens, and prints what they give and log, until Ctrl+C."""

    async def open_page(_: Attempt) -> ConnectOptions:
        try:
            async with aiohttp.request("PUT", f"{browser}/json/new?about:blank", raise_for_status=True) as answer:
                return ConnectOptions(url=(await answer.json())["webSocketDebuggerUrl"])
        except aiohttp.ClientError as error:
            raise ConnectError(str(error)) from error

    settings = {"url": f"ws{browser[4:]}", "before_connect": open_page, "reconnect": {"enabled": True}}
    async with Project(websocket={"page": settings}) as project:
        page = project.websocket("page")
        logs = on_receive(page, codec="json").pipe(
            ops.filter(lambda it: it.get("method") == "Runtime.consoleAPICalled")
        )
        enabled = on_start(page).pipe(ops.flat_map(lambda _: call(page, "Runtime.enable")))
        results = enabled.pipe(
            ops.flat_map(lambda _: merge(*(call(page, "Runtime.evaluate", expression=it) for it in expressions)))
        )
        project.subscribe(merge(logs, results).pipe(ops.do_action(print)))
        page.start()
        await page.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
