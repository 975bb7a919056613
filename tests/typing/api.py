"""What the public types are. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import reactivex
from reactivex import Observable

from rxnodes import (
    CloseCode,
    Connection,
    ConnectionState,
    ErrorEvent,
    Initiator,
    LifecycleEvent,
    Opened,
    Project,
    Stopped,
    Trigger,
    pulse,
    run,
)
from rxnodes.errors import RxNodesError
from rxnodes.testing import Recorded, Recording, ScriptedTransport, attempts, by_url, in_virtual_time, record, stopped
from rxnodes.websocket import (
    Gap,
    all_stopped,
    client_send,
    client_start,
    client_stop,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    until_stopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def events(chat: Connection) -> None:
    assert_type(on_start(chat), Observable[Opened])
    assert_type(on_stop(chat), Observable[Stopped])
    assert_type(on_error(chat), Observable[ErrorEvent])
    assert_type(on_receive(chat), Observable[str])
    assert_type(on_receive(chat, is_binary=False), Observable[str])
    assert_type(on_receive(chat, is_binary=True), Observable[bytes])
    assert_type(on_receive(chat, is_binary=None), Observable[str | bytes])
    assert_type(on_receive(chat, batched=True), Observable[list[str]])
    assert_type(on_receive(chat, is_binary=True, batched=True), Observable[list[bytes]])
    assert_type(on_receive(chat, is_binary=None, batched=True), Observable[list[str] | list[bytes]])
    assert_type(on_gap(chat), Observable[Gap])
    assert_type(on_gap(chat, sequence=int), Observable[Gap])
    assert_type(all_stopped(chat, chat), Observable[tuple[Stopped | None, ...]])


def streams(chat: Connection) -> None:
    assert_type(chat.states, Observable[ConnectionState])
    assert_type(chat.lifecycle, Observable[LifecycleEvent])
    assert_type(chat.messages, Observable[str | bytes])
    assert_type(chat.errors, Observable[ErrorEvent])


def actions(chat: Connection, numbers: Observable[int], switch: Observable[bool]) -> None:
    start: Callable[[Observable[int]], Observable[int]] = client_start(chat, enabled=switch)
    assert_type(start(numbers), Observable[int])
    stop: Callable[[Observable[int]], Observable[int]] = client_stop(chat, pass_through=True)
    assert_type(stop(numbers), Observable[int])
    hold: Callable[[Observable[int]], Observable[int]] = until_stopped(chat)
    assert_type(hold(numbers), Observable[int])


def pipelines(chat: Connection, numbers: Observable[int]) -> None:
    assert_type(numbers.pipe(client_send(chat, "constant")), Observable[int])
    assert_type(numbers.pipe(client_send(chat, b"constant", is_binary=True)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, reactivex.just("latest"))), Observable[int])
    assert_type(on_receive(chat).pipe(client_send(chat)), Observable[str])
    assert_type(on_start(chat).pipe(client_stop(chat), client_send(chat, "behind another")), Observable[Opened])
    assert_type(on_start(chat).pipe(client_stop(chat), client_send(chat, lambda _: "made")), Observable[Opened])
    assert_type(on_receive(chat).pipe(client_stop(chat), until_stopped(chat), client_start(chat)), Observable[str])


def pulses() -> None:
    assert_type(pulse(), Observable[None])
    assert_type(pulse(7), Observable[int])
    trigger = Trigger[int]()
    trigger.fire(7)
    Trigger[None]().fire()


async def waiting(project: Project) -> None:
    chat = project.websocket("chat")
    assert_type(chat, Connection)
    assert_type(await chat.wait_started(), Opened)
    stopped = await chat.wait_stopped()
    assert_type(stopped, Stopped)
    assert_type(stopped.code, int)
    assert_type(stopped.initiator, Initiator)
    assert_type(stopped.error, RxNodesError | None)
    code: int = CloseCode.NORMAL_CLOSURE
    chat.stop(code=code)


def without_asyncio(project: Project) -> None:
    with project:
        assert_type(project.call(project.websocket("chat").wait_stopped), Stopped)


async def main() -> int:
    return 7


def running() -> None:
    assert_type(run(main()), int)


@in_virtual_time
async def waits(seconds: int, *, again: bool = False) -> float:
    return seconds * again


def testing(chat: Connection) -> None:
    ScriptedTransport(by_url({"ws://chat.test/": attempts("-o-#", lambda peer: peer.accept())}))
    recording = record(chat, tick=1)
    assert_type(recording, Recording)
    assert_type(recording.events, list[LifecycleEvent])
    assert_type(recording.messages, list[str | bytes])
    assert_type(recording.of(Opened), list[Recorded[Opened]])
    assert_type(recording.replay(Stopped), Observable[Stopped])
    assert_type(stopped(1012), Stopped)
    assert_type(waits(3, again=True), float)
