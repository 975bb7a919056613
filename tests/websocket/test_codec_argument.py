"""Nodes with a codec, on a scripted transport in virtual time."""

from __future__ import annotations

import ast
import gc
import json
import re

import msgpack
import pydantic
import pytest
import reactivex
from conversing import errors_of, idle
from virtual import Chat, virtual

from rxnodes import Codec, ConnectionState, DecodeError, Project, SendError, pulse
from rxnodes.codecs import as_codec
from rxnodes.testing import ScriptedTransport
from rxnodes.websocket import channel, client_send, on_receive, request
from rxnodes.websocket.codec_argument import UNSET


class Quote(pydantic.BaseModel):
    bid: float


# Receiving


@virtual
async def test_on_receive_gives_what_the_codec_reads():
    chat = await Chat().opened()
    quotes, plain, numbers = [], [], []
    on_receive(chat.connection, codec=Quote).subscribe(quotes.append)
    on_receive(chat.connection, codec="json").subscribe(plain.append)
    on_receive(chat.connection, codec=(json.dumps, len)).subscribe(numbers.append)
    chat.peer.send('{"bid":1.5}')
    chat.peer.send(b'{"bid":2}')
    assert quotes == [Quote(bid=1.5), Quote(bid=2)]
    assert plain == [{"bid": 1.5}, {"bid": 2}]
    assert numbers == [11, 9]


@virtual
async def test_a_message_that_does_not_fit_is_one_error_event_and_the_stream_goes_on():
    chat = await Chat().opened()
    seen, others = [], []
    on_receive(chat.connection, codec=Quote).subscribe(seen.append)
    on_receive(chat.connection, codec=Quote).subscribe(others.append)
    for message in ('{"bid":1}', '{"bid":"high"}', '{"bid":2}'):
        chat.peer.send(message)
    assert seen == others == [Quote(bid=1), Quote(bid=2)]
    (error,) = errors_of(chat)
    assert (error.phase, type(error.error)) == ("receive", DecodeError)
    assert "bid: must be a valid number" in error.message
    assert error.message.endswith("""'{"bid":"high"}' (14 characters)""")
    assert chat.connection.state is ConnectionState.OPEN


@pytest.mark.parametrize(
    ("raised", "phase"),
    [
        (KeyError("id"), "receive"),
        (RecursionError("too deep"), "receive"),
        (pydantic.PydanticUserError("no", code=None), "receive"),
        (GeneratorExit(), "handler"),
    ],
)
@virtual
async def test_a_codec_may_raise_whatever_it_likes(raised, phase):
    def read(message):
        if message == "bad":
            raise raised
        return message

    chat = await Chat().opened()
    seen = []
    on_receive(chat.connection, codec=(str, read)).subscribe(seen.append)
    for message in ("a", "bad", "b"):
        chat.peer.send(message)
    assert seen == ["a", "b"]
    (error,) = errors_of(chat)
    assert (error.phase, error.error.__cause__) == (phase, raised)


@virtual
async def test_batches_are_lists_of_values_without_those_that_do_not_fit():
    chat = await Chat().opened()
    seen = []
    on_receive(chat.connection, codec=Quote, batched=True).subscribe(seen.append)
    for messages in (['{"bid":1}', "x", '{"bid":2}', "y"], ["z"], [b'{"bid":3}']):
        chat.connection._driver.inbound.take(messages)
    assert seen == [[Quote(bid=1), Quote(bid=2)], [Quote(bid=3)]]
    assert [type(event.error) for event in errors_of(chat)] == [DecodeError] * 3


@virtual
async def test_a_message_is_decoded_once_for_all_subscribers_and_only_while_there_are_any():
    decoded = []
    codec = Codec(str, lambda message: decoded.append(message) or message)
    chat = await Chat().opened()
    subscriptions = [on_receive(chat.connection, codec=codec).subscribe() for _ in range(3)]
    chat.peer.send("a")
    assert decoded == ["a"]
    for subscription in subscriptions:
        subscription.dispose()
    chat.peer.send("b")
    assert decoded == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use", "left"),
    [
        (lambda chat, codec: on_receive(chat, codec=codec).subscribe().dispose(), 0),
        (lambda chat, codec: channel(chat, subscribe=1, match=bool, codec=codec).subscribe().dispose(), 0),
        # The connection keeps what its nodes shared last, and that keeps its stream.
        (lambda chat, codec: request(chat, 1, match=bool, codec=codec).subscribe().dispose(), 2),
    ],
    ids=["on_receive", "channel", "request"],
)
@virtual
async def test_a_stream_that_nobody_uses_is_forgotten(use, left):
    chat = await Chat().opened()
    for _ in range(3):
        use(chat.connection, (str, lambda text: int(text)))  # noqa: PLW0108 - another function each time
    gc.collect()
    assert len(chat.connection._driver.inbound._values) == left
    assert idle(chat.connection)


@virtual
async def test_promise_6_raw_and_decoded_subscribers_see_one_message_before_the_next():
    chat = await Chat().opened()
    connection = chat.connection
    seen = []

    def answer(value):
        seen.append(("decoded", value))
        if value == 1:
            # What comes of it is told after all have seen this one.
            chat.peer.send("2")

    connection.messages.subscribe(lambda message: seen.append(("raw", message)))
    on_receive(connection, codec="json").subscribe(answer)
    on_receive(connection).subscribe(lambda message: seen.append(("text", message)))
    on_receive(connection, codec="json").subscribe(lambda value: seen.append(("other", value)))
    connection._driver.inbound.take(["1", "3"])
    assert [[kind for kind, value in seen if str(value) == number] for number in "132"] == [
        ["raw", "decoded", "other", "text"]
    ] * 3
    assert [str(value) for _, value in seen] == [number for number in "132" for _ in range(4)]


@virtual
async def test_it_completes_when_the_project_closes():
    chat = await Chat().opened()
    told = []
    for batched in (False, True):
        stream = on_receive(chat.connection, codec="json", batched=batched)
        stream.subscribe(on_completed=lambda: told.append("completed"))
    chat.connection.for_project.detach()
    assert told == ["completed"] * 2
    on_receive(chat.connection, codec=Quote).subscribe(on_completed=lambda: told.append("late"))
    assert told[2:] == ["late"]


# Sending


@virtual
async def test_client_send_writes_a_constant_a_functions_result_an_observables_latest_or_the_pulse():
    chat = await Chat().opened()
    connection = chat.connection
    pulse(1).pipe(client_send(connection, Quote(bid=1), codec=Quote)).subscribe()
    pulse(2).pipe(client_send(connection, lambda number: Quote(bid=number), codec=Quote)).subscribe()
    pulse(3).pipe(client_send(connection, reactivex.subject.BehaviorSubject(Quote(bid=3)), codec=Quote)).subscribe()
    passed = []
    pulse(Quote(bid=4)).pipe(client_send(connection, codec=Quote)).subscribe(passed.append)
    pulse().pipe(client_send(connection, {"a": "é"}, codec="msgpack")).subscribe()
    assert chat.peer.received == [*(f'{{"bid":{number}.0}}' for number in range(1, 5)), msgpack.packb({"a": "é"})]
    assert passed == [Quote(bid=4)]


@pytest.mark.parametrize(
    ("codec", "pulsed", "reason"),
    [
        ("json", object(), "Unable to serialize unknown type"),
        (Quote, {"bid": 1}, "must be Quote, not dict"),
        ((lambda value: value["key"], str), {}, "KeyError: 'key'"),
        ((lambda value: value, str), 7, "its encode gave int, not str or bytes"),
        ("json", "\ud800", "surrogate"),
    ],
)
@virtual
async def test_what_cannot_be_encoded_is_an_error_event_and_the_pulse_passes(codec, pulsed, reason):
    chat = await Chat().opened()
    passed = []
    pulse(pulsed).pipe(client_send(chat.connection, codec=codec)).subscribe(passed.append)
    assert passed == [pulsed]
    (error,) = errors_of(chat)
    assert (error.phase, type(error.error)) == ("send", SendError)
    assert error.message.startswith("'chat': ")
    assert reason in error.message
    with pytest.raises((TypeError, ValueError), match=reason):
        client_send(chat.connection, pulsed, codec=codec)


@virtual
async def test_a_constant_is_encoded_when_the_node_is_made():
    chat = await Chat().opened()
    constant = {"a": 1}
    node = client_send(chat.connection, constant, codec="json")
    constant["a"] = 2
    reactivex.of(1, 2).pipe(node).subscribe()
    assert chat.peer.received == ['{"a":1}'] * 2


# Which codec counts


@virtual
async def test_the_connections_codec_counts_where_nothing_is_given():
    chat = await Chat(codec=as_codec("json")).opened()
    connection = chat.connection
    seen = []
    on_receive(connection).subscribe(seen.append)
    on_receive(connection, batched=True).subscribe(seen.append)
    on_receive(connection, codec=Quote).subscribe(seen.append)
    on_receive(connection, codec=None).subscribe(seen.append)
    on_receive(connection, is_binary=False).subscribe(seen.append)
    on_receive(connection, is_binary=True, batched=True).subscribe(seen.append)
    connection.messages.subscribe(seen.append)
    chat.peer.send('{"bid":1}')
    text = '{"bid":1}'
    for value in ([{"bid": 1}], [text.encode()], {"bid": 1}, Quote(bid=1), text, text, text):
        seen.remove(value)
    assert seen == []
    pulse().pipe(
        client_send(connection, "a"),
        client_send(connection, "b", codec=None),
        client_send(connection, "c", is_binary=False),
        client_send(connection, b"d", is_binary=True),
    ).subscribe()
    connection.send("e")
    connection.send("f", codec=None)
    connection.send("g", is_binary=False)
    connection.send("h", is_binary=True)
    connection.send(["i"], codec="msgpack")
    connection.send(Quote(bid=1))
    assert chat.peer.received == ['"a"', "b", "c", b"d", '"e"', "f", "g", b"h", b"\x91\xa1i", '{"bid":1.0}']


@virtual
async def test_what_send_cannot_write_is_raised_at_once():
    chat = await Chat(codec=as_codec("json")).opened()
    connection = chat.connection
    with pytest.raises(ValueError, match="the message cannot be encoded with JSON"):
        connection.send(object())
    with pytest.raises(ValueError, match=r"the message cannot be encoded with list\[int\]"):
        connection.send(["x"], codec=list[int])
    with pytest.raises(ValueError, match="there is no codec 'yaml'"):
        connection.send("x", codec="yaml")
    with pytest.raises(TypeError, match="is_binary is for raw messages"):
        connection.send("x", codec="json", is_binary=True)
    with pytest.raises(TypeError, match='must be str or bytes, not dict; codec="json" sends values'):
        connection.send({}, codec=None)
    assert chat.peer.received == []
    assert chat.journal.kinds == ["Connecting", "Opened"]


@pytest.mark.parametrize("message", ["text", b"data", bytearray(b"data"), memoryview(b"data")])
@virtual
async def test_what_send_takes_the_nodes_take(message):
    chat = await Chat().opened()
    connection = chat.connection
    connection.send(message)
    pulse().pipe(client_send(connection, message)).subscribe()
    pulse(message).pipe(client_send(connection)).subscribe()
    pulse().pipe(client_send(connection, lambda _: message)).subscribe()
    request(connection, message, match=bool).subscribe()
    channel(connection, subscribe=message, match=bool).subscribe()
    sent = message if isinstance(message, str) else bytes(message)
    assert chat.peer.received == [sent] * 6


@pytest.mark.parametrize(
    ("node", "given", "problem"),
    [
        (on_receive, {"is_binary": "no"}, "is_binary: expected True, False or None, got str"),
        (client_send, {"is_binary": 1}, "is_binary: expected True, False or None, got int"),
        (on_receive, {"batched": None}, "batched: expected True or False, got NoneType"),
    ],
)
@virtual
async def test_a_switch_is_no_other_value_that_would_count_as_one(node, given, problem):
    with pytest.raises(TypeError, match=problem):
        node(Chat().connection, **given)


@pytest.mark.parametrize(
    ("message", "given", "sent"),
    [
        ({"a": 1}, {}, '{"a":1}'),
        ([b"x"], {"codec": None}, '["x"]'),
        (b"data", {"is_binary": False}, b"data"),
        (memoryview(b"data"), {"is_binary": False}, b"data"),
    ],
)
@virtual
async def test_what_is_refused_is_sent_as_the_refusal_says(message, given, sent):
    chat = await Chat().opened()
    connection = chat.connection
    with pytest.raises(TypeError) as refused:
        connection.send(message, **given)
    with pytest.raises(TypeError, match=re.escape(str(refused.value))):
        client_send(connection, message, **given)
    name, value = re.search(r"; (\w+)=(\S+) sends", str(refused.value)).groups()
    hint = {name: ast.literal_eval(value)}
    connection.send(message, **hint)
    pulse().pipe(client_send(connection, message, **hint)).subscribe()
    pulse(message).pipe(client_send(connection, **hint)).subscribe()
    wanted = [sent] * 3
    if name == "codec":
        request(connection, message, match=bool, **hint).subscribe()
        channel(connection, subscribe=message, match=bool, **hint).subscribe()
        wanted += [sent] * 2
    assert chat.peer.received == wanted


@pytest.mark.parametrize("codec", ["json", "msgpack", list[int], (str, int)])
@virtual
async def test_the_settings_name_it(codec):
    settings = {"url": "ws://chat.test/", "codec": codec}
    async with Project(websocket={"chat": settings}, transport=ScriptedTransport()) as project:
        assert project.websocket("chat").codec.name == as_codec(codec).name


@pytest.mark.parametrize("is_binary", [False, True, None])
@pytest.mark.parametrize("codec", ["json", bytes, None])
@virtual
async def test_is_binary_and_codec_exclude_each_other(is_binary, codec):
    chat = Chat()
    for node in (on_receive, client_send):
        with pytest.raises(TypeError, match="expected is_binary or codec, got both"):
            node(chat.connection, codec=codec, is_binary=is_binary)


@pytest.mark.parametrize(("is_binary", "codec"), [(False, str), (True, bytes), (None, None)])
@virtual
async def test_is_binary_says_the_same_as_a_codec(is_binary, codec):
    chat = await Chat().opened()
    connection = chat.connection
    for batched in (False, True):
        same = on_receive(connection, is_binary=is_binary, batched=batched)
        assert on_receive(connection, codec=codec, batched=batched) is same
    pulse("é").pipe(client_send(connection, is_binary=is_binary), client_send(connection, codec=codec)).subscribe()
    first, second = chat.peer.received
    assert first == second


@virtual
async def test_raw_messages_come_from_the_connections_own_streams_and_are_not_decoded():
    connection = Chat().connection
    assert on_receive(connection, codec=str) is connection.for_nodes.texts is on_receive(connection)
    assert on_receive(connection, codec=bytes) is connection.for_nodes.binaries
    assert on_receive(connection, codec=None) is connection.messages
    assert connection._driver.inbound._values is None


@virtual
async def test_str_and_bytes_send_text_and_binary_messages():
    chat = await Chat().opened()
    connection = chat.connection
    for codec, message in ((str, "text"), (bytes, "data"), (bytes, bytearray(b"data"))):
        pulse(message).pipe(
            client_send(connection, codec=codec), client_send(connection, message, codec=codec)
        ).subscribe()
        connection.send(message, codec=codec)
    assert chat.peer.received == ["text"] * 3 + [b"data"] * 6
    pulse(b"data").pipe(client_send(connection, codec=str)).subscribe()
    (error,) = errors_of(chat)
    assert (error.phase, error.message) == (
        "send",
        "'chat': the message cannot be encoded with str: expected str, got bytes",
    )
    for call in (client_send, connection.send):
        with pytest.raises(ValueError, match="expected str, got bytes"):
            call(*([connection] if call is client_send else []), b"data", codec=str)


@virtual
async def test_the_connections_codec_may_be_a_raw_one():
    chat = await Chat(codec=as_codec(bytes)).opened()
    seen = []
    on_receive(chat.connection).subscribe(seen.append)
    chat.peer.send("text")
    pulse().pipe(client_send(chat.connection, "data")).subscribe()
    assert (seen, chat.peer.received) == ([b"text"], [b"data"])


@virtual
async def test_what_is_no_codec_raises_when_the_pipeline_is_built():
    chat = Chat()
    for node in (on_receive, client_send):
        with pytest.raises(TypeError, match="a codec is"):
            node(chat.connection, codec=7)
        with pytest.raises(ValueError, match="there is no codec 'jsn'"):
            node(chat.connection, codec="jsn")


def test_an_argument_that_is_not_given_says_so():
    assert repr(UNSET) == "<not given>"
