"""What the public types are. Checked by mypy and pyright, and never run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, assert_type

import reactivex
from multidict import CIMultiDict
from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from pydantic import BaseModel, Field, TypeAdapter
from reactivex import Observable, abc
from reactivex import operators as ops

from rxnodes import (
    AfterConnect,
    Attempt,
    BeforeConnect,
    CloseCode,
    Codec,
    ConnectError,
    Connection,
    ConnectionLost,
    ConnectionState,
    ConnectOptions,
    Drops,
    ErrorEvent,
    GiveUp,
    Greeting,
    HolderLost,
    Initiator,
    LifecycleEvent,
    Opened,
    Project,
    Receipt,
    Scene,
    Scope,
    SendError,
    SendOutcome,
    SendUnknown,
    Stopped,
    Trigger,
    aiter_observable,
    for_each_async,
    holding,
    map_async,
    pulse,
    run,
)
from rxnodes.codecs import as_codec
from rxnodes.errors import RxNodesError
from rxnodes.fleet import Fleet, RemoteConnection
from rxnodes.inspector import Inspector
from rxnodes.recording import LeftOut, Message, Messages, Pulse, Recorder
from rxnodes.rx.async_iterator import ObservableIterator
from rxnodes.telemetry import instrument
from rxnodes.testing import (
    Recorded,
    Recording,
    ScriptedPeer,
    ScriptedTransport,
    attempts,
    by_url,
    in_virtual_time,
    peer_script,
    record,
    run_in_virtual_time,
    stopped,
)
from rxnodes.websocket import (
    Gap,
    all_stopped,
    channel,
    client_send,
    client_start,
    client_stop,
    expect,
    messages,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    request,
    request_stream,
    until_stopped,
)
from rxnodes.websocket.expect import Expectation
from rxnodes.websocket.settings import ConnectionSettings, WebSocketSettings
from rxnodes.wire import IS_COMPILED

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.protocols import ConnectionLike


class Quote(BaseModel):
    bid: float


@dataclass
class Point:
    x: int


class Buy(BaseModel):
    kind: Literal["buy"]


class Sell(BaseModel):
    kind: Literal["sell"]


Order = Annotated[Buy | Sell, Field(discriminator="kind")]


def read_quote(message: str | bytes) -> Quote:
    return Quote.model_validate_json(message)


def codecs(chat: Connection, quotes: Codec[Quote], either: TypeAdapter[Quote | Point]) -> None:
    assert_type(on_receive(chat, codec=Quote), Observable[Quote])
    assert_type(on_receive(chat, codec=Point), Observable[Point])
    assert_type(on_receive(chat, codec=list[int]), Observable[list[int]])
    assert_type(on_receive(chat, codec=quotes), Observable[Quote])
    assert_type(on_receive(chat, codec=either), Observable[Quote | Point])
    assert_type(on_receive(chat, codec=(Quote.model_dump_json, read_quote)), Observable[Quote])
    assert_type(on_receive(chat, codec="json"), Observable[Any])
    assert_type(on_receive(chat, codec="msgpack"), Observable[Any])
    assert_type(on_receive(chat, codec=str), Observable[str])
    assert_type(on_receive(chat, codec=bytes), Observable[bytes])
    assert_type(on_receive(chat, codec=None), Observable[str | bytes])
    assert_type(on_receive(chat, codec=str, batched=True), Observable[list[str]])
    assert_type(on_receive(chat, codec=bytes, batched=True), Observable[list[bytes]])
    assert_type(on_receive(chat, codec=None, batched=True), Observable[list[str] | list[bytes]])
    assert_type(on_receive(chat, codec=Quote, batched=True), Observable[list[Quote]])
    assert_type(on_receive(chat, codec="json", batched=True), Observable[list[Any]])
    assert_type(as_codec(Quote), Codec[Quote])
    assert_type(as_codec("json"), Codec[Any])
    assert_type(as_codec(str), Codec[str])


def codecs_of_types_that_are_no_classes(chat: Connection) -> None:
    assert_type(on_receive(chat, codec=Quote | Point), Observable[Quote | Point])
    assert_type(on_receive(chat, codec=Order), Observable[Buy | Sell])
    assert_type(on_receive(chat, codec=Optional[Quote]), Observable[Quote | None])  # noqa: UP045 - the older form
    assert_type(on_receive(chat, codec=Literal["yes", "no"]), Observable[Literal["yes", "no"]])
    anything: Observable[Any] = on_receive(chat, codec=Any)
    anything.subscribe(lambda value: print(value["key"]))
    assert_type(on_receive(chat, codec=Order, batched=True), Observable[list[Buy | Sell]])
    assert_type(request(chat, {}, match=lambda order: order.kind == "buy", codec=Order), Observable[Buy | Sell])
    assert_type(channel(chat, subscribe={}, match=lambda order: bool(order.kind), codec=Order), Observable[Buy | Sell])
    assert_type(on_gap(chat, sequence=lambda order: len(order.kind), codec=Order), Observable[Gap])
    assert_type(messages(chat, codec=Order), ObservableIterator[Buy | Sell])
    assert_type(as_codec(Order), Codec[Buy | Sell])


def what_is_no_codec(chat: Connection) -> None:
    on_receive(chat, codec="jsn")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    on_receive(chat, codec=7)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    on_receive(chat, codec=Quote, is_binary=True)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def what_is_decided_later(chat: Connection, quotes: Codec[Quote], is_binary: bool, batched: bool) -> None:
    assert_type(on_receive(chat, is_binary=is_binary), Observable[Any])
    assert_type(on_receive(chat, batched=batched), Observable[Any])
    assert_type(on_receive(chat, is_binary=is_binary, batched=batched), Observable[Any])
    assert_type(on_receive(chat, codec=Quote, batched=batched), Observable[Any])
    assert_type(on_receive(chat, codec=quotes, batched=batched), Observable[Any])
    assert_type(on_receive(chat, codec="json", batched=batched), Observable[Any])


def iterating_values(chat: Connection) -> None:
    assert_type(messages(chat, codec=Quote), ObservableIterator[Quote])
    assert_type(messages(chat, codec="json"), ObservableIterator[Any])


async def what_became_of_sends(chat: Connection, numbers: Observable[int]) -> None:
    receipt = chat.send("hello", tag=7)
    assert_type(receipt, Receipt)
    assert_type(await receipt, SendOutcome)
    assert_type(chat.send({"number": 7}, codec="json"), Receipt)
    assert_type(chat.send(Quote(bid=1), codec=Quote), Receipt)
    assert_type(chat.send([1, 2], codec=list[int]), Receipt)
    assert_type(chat.send(7, codec=int | str), Receipt)
    assert_type(chat.send(7, codec=(str, int), tag="seven"), Receipt)
    assert_type(chat.send("as it is", codec=None), Receipt)
    assert_type(receipt.outcome, SendOutcome | None)
    assert_type(chat.sends, Observable[SendOutcome])
    assert_type(numbers.pipe(client_send(chat, str, tag=lambda number: number + 1)), Observable[int])


def sending_what_is_binary(chat: Connection, numbers: Observable[int], is_binary: bool) -> None:
    for data in (b"data", bytearray(b"data"), memoryview(b"data")):
        assert_type(chat.send(data), Receipt)
        assert_type(numbers.pipe(client_send(chat, data, is_binary=True)), Observable[int])
        assert_type(numbers.pipe(client_send(chat, data)), Observable[int])
        assert_type(request(chat, data, match=bool), Observable[str])
        assert_type(channel(chat, subscribe=data, unsubscribe=data, match=bool), Observable[str])
        assert_type(request(chat, data, match=bool, codec=bytes), Observable[bytes])
        assert_type(channel(chat, subscribe=data, unsubscribe=data, match=bool, codec=bytes), Observable[bytes])
    assert_type(numbers.pipe(client_send(chat, lambda _: bytearray(b"data"), is_binary=None)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, "text or data", is_binary=is_binary)), Observable[int])


def sending_with_codecs(chat: Connection, numbers: Observable[int]) -> None:
    assert_type(numbers.pipe(client_send(chat, lambda pulse: {"number": pulse}, codec="json")), Observable[int])
    assert_type(numbers.pipe(client_send(chat, lambda pulse: Quote(bid=pulse), codec=Quote)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, lambda _: Buy(kind="buy"), codec=Order)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, Quote(bid=1), codec=Quote)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, {"op": "hello"}, codec="json")), Observable[int])
    assert_type(numbers.pipe(client_send(chat, codec=int)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, "text", codec=str)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, "data", codec=bytes)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, "as it is", codec=None)), Observable[int])
    assert_type(numbers.pipe(client_send(chat, codec=(json.dumps, json.loads))), Observable[int])
    assert_type(on_receive(chat, codec=Quote).pipe(client_send(chat, codec=Quote)), Observable[Quote])


def is_answer(message: str | bytes) -> bool:
    return bool(message)


async def conversations(chat: Connection, answers: Codec[Quote]) -> None:
    assert_type(request(chat, "ask", match=lambda text: text.isdigit()), Observable[str])
    assert_type(request(chat, b"ask", match=lambda data: data.isdigit(), codec=bytes), Observable[bytes])
    assert_type(request(chat, "ask", match=is_answer, codec=None), Observable[str | bytes])
    assert_type(request(chat, {"id": 7}, match=lambda quote: quote.bid > 1, codec=Quote), Observable[Quote])
    assert_type(request(chat, {"id": 7}, match=lambda answer: answer.get("id") == 7, codec="json"), Observable[Any])
    assert_type(await request(chat, {"id": 7}, match=lambda _: True, timeout=None, codec=answers), Quote)
    assert_type(request(chat, "ask", match=(len, 7)), Observable[str])
    assert_type(request(chat, {"id": 7}, match=("id", 7), codec="json"), Observable[Any])
    assert_type(request(chat, {"id": 7}, match=("id", 7), codec=Quote), Observable[Quote])
    assert_type(request(chat, {"id": 7}, match=(lambda quote: quote.bid, 7.0), codec=Quote), Observable[Quote])
    assert_type(request(chat, {"id": 7}, match=lambda order: order.kind == "buy", codec=Order), Observable[Buy | Sell])
    assert_type(channel(chat, subscribe={}, match=("id", 7), codec="json"), Observable[Any])
    assert_type(channel(chat, subscribe="on", match=lambda text: text.isdigit()), Observable[str])
    assert_type(channel(chat, subscribe=b"on", match=lambda data: data.isdigit(), codec=bytes), Observable[bytes])
    assert_type(channel(chat, subscribe=lambda: "on", match=is_answer, codec=None), Observable[str | bytes])
    assert_type(channel(chat, subscribe=[1], match=lambda quote: quote.bid > 1, codec=Quote), Observable[Quote])
    assert_type(
        channel(chat, subscribe=[1], unsubscribe=[2], match=lambda tick: tick["id"] == 1, codec="json"), Observable[Any]
    )


async def conversations_of_many_messages(chat: Connection, answers: Codec[Quote]) -> None:
    assert_type(request_stream(chat, "ask", match=str.isdigit, until=lambda text: text.isdigit()), Observable[str])
    assert_type(
        request_stream(chat, [1], match=("bid", 1.0), until=lambda it: it.bid > 1, cancel=[2], codec=Quote),
        Observable[Quote],
    )
    assert_type(
        request_stream(chat, [1], match=("id", 1), until=lambda it: it["done"], timeout=5, codec="json"),
        Observable[Any],
    )
    assert_type(request_stream(chat, b"a", match=is_answer, until=is_answer, codec=None), Observable[str | bytes])
    assert_type(await request_stream(chat, [1], match=lambda _: True, until=bool, codec=answers), Quote)


async def expectations(chat: Connection, answers: Codec[Quote]) -> None:
    assert_type(expect(chat, lambda text: text.isdigit()), Expectation[str])
    assert_type(expect(chat, is_answer, codec=None), Expectation[str | bytes])
    assert_type(expect(chat, ("event", "joined"), timeout=5, codec="json"), Expectation[Any])
    assert_type(expect(chat, lambda quote: quote.bid > 1, codec=Quote), Expectation[Quote])
    assert_type(await expect(chat, ("bid", 1.0), codec=answers), Quote)
    with expect(chat, lambda data: data.isdigit(), codec=bytes) as expected:
        assert_type(expected, Expectation[bytes])
        assert_type(expected.pipe(ops.map(len)), Observable[int])
        assert_type(await expected, bytes)
    expected.dispose()


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
    assert_type(on_gap(chat, sequence=lambda text: int(text.strip())), Observable[Gap])
    assert_type(on_gap(chat, sequence=lambda data: data[0], codec=bytes), Observable[Gap])
    assert_type(on_gap(chat, sequence=lambda message: len(message[1:]), codec=None), Observable[Gap])
    assert_type(on_gap(chat, sequence=lambda quote: int(quote.bid), codec=Quote), Observable[Gap])
    assert_type(on_gap(chat, sequence=lambda quote: quote["number"], codec="json"), Observable[Gap])
    assert_type(all_stopped(chat, chat), Observable[tuple[Stopped | None, ...]])


def streams(chat: Connection) -> None:
    assert_type(chat.states, Observable[ConnectionState])
    assert_type(chat.lifecycle, Observable[LifecycleEvent])
    assert_type(chat.messages, Observable[str | bytes])
    assert_type(chat.errors, Observable[ErrorEvent])
    assert_type(chat.latency, Observable[float])


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


async def measure(text: str) -> int:
    return len(text)


async def save(_text: str) -> None: ...


def awaited(chat: Connection, numbers: Observable[int]) -> None:
    assert_type(on_receive(chat).pipe(map_async(measure)), Observable[int])
    assert_type(on_receive(chat).pipe(map_async(measure, on_error=lambda _, item: len(item))), Observable[int])
    assert_type(on_receive(chat).pipe(for_each_async(save), client_send(chat)), Observable[str])
    drops = Drops[str]()
    assert_type(drops.total, int)
    assert_type(on_receive(chat).pipe(map_async(measure, overflow="latest", drops=drops)), Observable[int])
    operator: Callable[[Observable[str]], Observable[int]] = map_async(measure, max_concurrent=4, ordered=False)
    assert_type(operator(on_receive(chat)), Observable[int])
    assert_type(aiter_observable(numbers), ObservableIterator[int])
    assert_type(messages(chat), ObservableIterator[str])
    assert_type(messages(chat, codec=bytes), ObservableIterator[bytes])
    assert_type(messages(chat, codec=None, overflow="drop_oldest"), ObservableIterator[str | bytes])


async def iterating(chat: Connection) -> None:
    async for message in messages(chat):
        assert_type(message, str)
    async with aiter_observable(chat.lifecycle) as events:
        assert_type(await anext(events), LifecycleEvent)


def fluent(chat: Connection) -> None:
    quotes = on_receive(chat, codec=Quote)
    assert_type(quotes.map(lambda quote: quote.bid), Observable[float])
    assert_type(quotes.do_action(lambda quote: print(quote.bid)).pipe(client_stop(chat)), Observable[Quote])
    assert_type(quotes.pipe(client_stop(chat)).map(lambda quote: quote.bid), Observable[float])
    assert_type(on_receive(chat).flat_map(lambda text: request(chat, text, match=bool)), Observable[str])
    assert_type(on_start(chat).map(lambda opened: opened.session).pipe(client_send(chat, "hello")), Observable[int])
    # What docs/fluent.md says that reactivex's types do not know.
    assert_type(on_receive(chat).filter(str.isupper), Observable[Any])
    assert_type(on_receive(chat).pipe(ops.filter(str.isupper)), Observable[str])
    assert_type(quotes.pipe(ops.map(lambda quote: quote.bid)), Observable[float])  # type: ignore[attr-defined]


def pulses(chat: Connection) -> None:
    assert_type(pulse(), Observable[None])
    assert_type(pulse(7), Observable[int])
    trigger = Trigger[int]()
    trigger.fire(7)
    Trigger[None]().fire()
    trigger.on_next(7)
    trigger.on_error(ValueError())
    trigger.on_completed()
    observer: abc.ObserverBase[int] = trigger
    pulse(7).subscribe(observer)
    on_start(chat).map(lambda opened: opened.session).subscribe(trigger)
    on_start(chat).subscribe(trigger)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert_type(trigger.pipe(client_send(chat, "fired")), Observable[int])


def nodes_take_whatever_keeps_the_protocol(chat: Connection, another: ConnectionLike) -> None:
    kept: ConnectionLike = chat
    assert_type(on_receive(kept, codec=bytes), Observable[bytes])
    assert_type(on_stop(another), Observable[Stopped])
    assert_type(all_stopped(chat, another), Observable[tuple[Stopped | None, ...]])
    assert_type(record(another), Recording)
    pulse().pipe(client_start(another), client_send(another, "hello"), client_stop(another), until_stopped(another))
    assert_type(request(another, "ask", match=bool), Observable[str])
    assert_type(channel(another, subscribe="subscribe", match=bool), Observable[str])


async def coming_and_going(project: Project) -> None:
    assert_type(project.add_websocket("chat", "ws://chat.test/"), Connection)
    project.add_websocket("feed", {"url": "ws://feed.test/", "heartbeat": None})
    project.add_websocket("news", ConnectionSettings.model_validate("ws://news.test/"))
    assert_type(await project.remove_websocket("chat"), None)
    project.call(project.remove_websocket, "feed")


async def inspecting(project: Project) -> None:
    async with Inspector(project, host="127.0.0.1", port=0, token=None) as inspector:
        assert_type(inspector, Inspector)
        assert_type(inspector.url, str)
        assert_type(inspector.port, int)
    Inspector(project, token=False)
    Inspector(project, token="secret")  # noqa: S106
    Inspector(project, token=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def waiting(project: Project) -> None:
    chat = project.websocket("chat")
    assert_type(chat, Connection)
    assert_type(await chat.wait_started(), Opened)
    assert_type((await chat.wait_started()).headers, CIMultiDict[str])
    stopped = await chat.wait_stopped()
    assert_type(stopped, Stopped)
    assert_type(stopped.code, int)
    assert_type(stopped.initiator, Initiator)
    assert_type(stopped.error, RxNodesError | None)
    code: int = CloseCode.NORMAL_CLOSURE
    chat.stop(code=code)


class House(Project):
    """A project of a program's own."""


def loading(folder: Path) -> None:
    assert_type(Project.load(), Project)
    assert_type(Project.load(folder, transport=ScriptedTransport()), Project)
    assert_type(House.load("settings"), House)


async def scenes(project: Project, chat: Connection) -> None:
    assert_type(project.scene("menu"), Scene)
    async with project.scene("menu", connections=[chat]) as menu:
        assert_type(menu, Scene)
        scope: Scope = menu
        scope.subscribe(on_start(chat), on_receive(chat))
    with project.scene("menu", connections=(chat,)) as menu:
        assert_type(menu, Scene)


async def fresh_token(attempt: Attempt) -> ConnectOptions | None:
    assert_type(attempt.attempt, int)
    assert_type(attempt.error, RxNodesError | None)
    if isinstance(attempt.error, ConnectError) and attempt.error.status == 401:
        assert_type(attempt.error.headers, CIMultiDict[str])
        assert_type(attempt.error.body, bytes)
        assert_type(attempt.error.retry_after, float | None)
        assert_type(attempt.error.code, int | None)
        assert_type(attempt.error.reason, str | None)
        assert_type(attempt.error.proxy_status, int | None)
        raise GiveUp("the token is wrong")
    if attempt.attempt == 2:
        return ConnectOptions(subprotocols=["chat", "token"])
    if attempt.attempt == 1:
        return None
    return ConnectOptions(url="ws://chat.test/", headers={"Authorization": "Bearer"}, query={"try": "2"}, delay=1)


async def log_in(greeting: Greeting) -> None:
    assert_type(greeting.attempt, Attempt)
    assert_type(greeting.subprotocol, str | None)
    assert_type(greeting.headers, CIMultiDict[str])
    assert_type(await greeting.send({"token": "secret"}, codec="json"), None)
    assert_type(await greeting.receive(), Any)
    assert_type(await greeting.receive(lambda value: value["type"] == "auth_ok", codec="json"), Any)
    assert_type(await greeting.receive(("type", "auth_ok"), codec=dict[str, str]), dict[str, str])
    assert_type(await greeting.receive(codec=None), str | bytes)
    assert_type(await greeting.receive(lambda value: value["type"] == "auth_ok", codec=dict[str, str]), dict[str, str])


def hooks() -> None:
    hook: BeforeConnect = fresh_token
    login: AfterConnect = log_in
    Project(websocket={"chat": {"url": "ws://chat.test/", "before_connect": hook, "after_connect": login}})
    Project(websocket=WebSocketSettings(connections={"chat": ConnectionSettings.model_validate("ws://chat.test/")}))


def without_asyncio(project: Project) -> None:
    with project:
        chat = project.websocket("chat")
        assert_type(project.call(chat.wait_stopped), Stopped)
        assert_type(project.call(chat.send, "hello", is_binary=True), SendOutcome)
        assert_type(project.call(asyncio.sleep, 0.1, result="slept"), str)
        project.call(chat.send, "hello", binary=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        project.call(chat.wait_stopped, "hello")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        project.call(len, "hello")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def main() -> int:
    return 7


def telemetry(project: Project, meters: MeterProvider, tracers: TracerProvider, loggers: LoggerProvider) -> None:
    assert_type(instrument(project), abc.DisposableBase)
    instrument(project, meter_provider=meters, tracer_provider=tracers, logger_provider=loggers, by_connection=False)
    instrument(project, meter_provider=tracers)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def running() -> None:
    assert_type(run(main()), int)


@in_virtual_time
async def waits(seconds: int, *, again: bool = False) -> float:
    return seconds * again


@in_virtual_time
async def asks(chat: Connection, answer: str | None = None) -> str | None:
    return await request(chat, "ask", match=bool) if answer is None else answer


async def greet(text: str) -> tuple[str, int]:
    return text, len(text)


def testing(chat: Connection, project: Project) -> None:
    script: Callable[[ScriptedPeer], object] = peer_script("-o-ma", messages=["a", b"b"], values={"a": b"c"}, tick=1)
    ScriptedTransport(script)
    ScriptedTransport(attempts(script, "-r", close=(1001, "bye"), answers_close=False))
    ScriptedTransport(by_url({"ws://chat.test/": attempts("-o-#", lambda peer: peer.accept())}))
    assert_type(ScriptedTransport().peer, ScriptedPeer)
    recording = record(chat, tick=1)
    assert_type(recording, Recording)
    assert_type(recording.events, list[LifecycleEvent])
    assert_type(recording.messages, list[str | bytes])
    assert_type(recording.of(Opened), list[Recorded[Opened]])
    assert_type(recording.replay(Stopped), Observable[Stopped])
    assert_type(stopped(1012), Stopped)
    with record(chat) as recorded:
        assert_type(recorded, Recording)
    with Recorder(chat, "run.jsonl", payloads=True, max_bytes=1000) as recorder:
        assert_type(recorder.recording, Recording)
    with Recorder(project), Recorder([chat], Path("run.jsonl")):
        pass
    assert_type(Recording.load("run.jsonl").transport(), ScriptedTransport)
    assert_type(recording.recorded[0].value, LifecycleEvent | Message | Messages | Pulse | LeftOut)
    assert_type(recording.of(Pulse), list[Recorded[Pulse]])
    assert_type((recording.to_marbles(), recording.to_svg(), recording.to_mermaid()), tuple[str, str, str])
    assert_type(recording.to_text(60), list[str])
    assert_type(waits(3, again=True), float)
    assert_type(IS_COMPILED, bool)
    assert_type(asks(chat), str | None)
    assert_type(run_in_virtual_time(greet("hello")), tuple[str, int])
    assert_type(run_in_virtual_time(save("hello"), debug=True), None)


def wire_one(scope: Scope, connection: Connection) -> None:
    scope.subscribe(on_receive(connection))


def holding_some_of_many(project: Project, chat: Connection, numbers: Observable[int]) -> None:
    assert_type(holding(chat), Observable[bool])
    numbers.pipe(client_send(chat, str, enabled=holding(chat)))
    project.for_each(project.configurations, wire_one)
    project.for_each(["chat"], lambda scope, connection: scope.add(connection.states.subscribe()))
    project.for_each(["chat"], print_names)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def print_names(name: str) -> None: ...


async def a_fleet_from_outside(fleet: Fleet) -> None:
    assert_type(Fleet.connect("nats://127.0.0.1:4222", name="feeds", credentials=Path("x.creds"), history=True), Fleet)
    async with fleet as entered:
        assert_type(entered, Fleet)
    chat = fleet.websocket("chat")
    assert_type(chat, RemoteConnection)
    assert_type(fleet.names, tuple[str, ...])
    assert_type(fleet.call(chat.wait_stopped), Stopped)
    assert_type(on_start(chat), Observable[Opened])
    assert_type(await chat.send("hello"), SendOutcome)
    assert_type(chat.messages, Observable[str | bytes])
    fleet.subscribe(on_receive(chat).pipe(client_send(chat, str), client_start(chat), client_stop(chat)))
    another: ConnectionLike = chat
    nodes_take_whatever_keeps_the_protocol(fleet_project_connection(), another)


def fleet_project_connection() -> Connection:
    return Project().websocket("chat")


def what_a_fleet_adds_to_the_errors(lost: HolderLost, unknown: SendUnknown) -> tuple[ConnectionLost, SendError]:
    return lost, unknown
