"""Marble diagrams: how they are read and drawn, and what a peer does that plays one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import project_of

from rxnodes import Connection, ConnectionLost, Project, ProtocolError
from rxnodes.recording.marbles import align, cells_of, draw, parse
from rxnodes.testing import ScriptedTransport, attempts, by_url, in_virtual_time, peer_script, record

RECONNECT = {"enabled": True, "initial_delay": 0.5, "jitter": False}


# --- The notation -----------------------------------------------------------------------------------------------------


def read(diagram, **options):
    return cells_of(parse(diagram, letters="abc", **options))


@pytest.mark.parametrize(
    ("diagram", "cells"),
    [
        ("", {}),
        ("---", {}),
        ("a", {0: "a"}),
        ("-a--b", {1: "a", 4: "b"}),
        ("ab", {0: "a", 1: "b"}),
        ("-(ab)c", {1: "ab", 2: "c"}),
        ("(a,b)", {0: "ab"}),
        ("(b a)-c", {0: "ba", 2: "c"}),
        (" a - b ", {0: "a", 2: "b"}),
        ("a 1s b", {0: "a", 11: "b"}),
        ("1.5s b", {15: "b"}),
        ("a 300ms b", {0: "a", 4: "b"}),
        ("a 2m b", {0: "a", 1201: "b"}),
        ("a 1s 1s b", {0: "a", 21: "b"}),
        ("a 1s ", {0: "a"}),
    ],
)
def test_a_character_is_a_tick(diagram, cells):
    assert read(diagram) == cells


def test_a_time_is_counted_in_ticks():
    assert read("a 1s b", tick=0.25) == {0: "a", 5: "b"}
    assert read("a 7ms b", tick=0.001) == {0: "a", 8: "b"}


@pytest.mark.parametrize(
    ("diagram", "problem"),
    [
        ("-a-q", "'-a-q', column 4, 'q': it has no meaning here; use one of a b c"),
        ("a1s", "column 2, '1': it has no meaning here; use one of a b c; a time stands between spaces"),
        ("20sa", "column 1, '2': it has no meaning here; use one of a b c; a time stands between spaces"),
        ("-a 1 s", "column 4, '1': it has no meaning here; use one of a b c$"),
        ("-(aq)", "column 4, 'q': it has no meaning"),
        ("-(a-b)", "column 4, '-': it has no meaning"),
        ("-(a(b))", r"column 4, '\(': it has no meaning"),
        ("--(ab", r"column 3, '\(': the group is not closed"),
        ("ab)", r"column 3, '\)': it has no meaning"),
        ("a,b", "column 2, ',': it has no meaning"),
        ("a 50ms b", "column 3, '5': 50ms is no whole number of ticks of 0.1 s"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(diagram, problem):
    with pytest.raises(ValueError, match=problem):
        read(diagram)


@pytest.mark.parametrize("tick", [0, -1, float("nan")])
def test_a_tick_takes_time(tick):
    with pytest.raises(ValueError, match="a tick must take more than 0 seconds"):
        read("a", tick=tick)


def test_a_long_silence_is_drawn_as_a_time():
    assert draw({0: "a", 20: "b"}) == "a-------------------b"
    assert draw({0: "a", 21: "b"}) == "a 2s b"
    assert draw({25: "a"}) == "2.5s a"
    assert draw({0: "a", 21: "bc"}, tick=0.001) == "a 0.02s (bc)"
    assert draw({0: "a", 21: "b"}, tick=1 / 3) == "a 6.666667s b"


@pytest.mark.slow
@given(
    st.dictionaries(st.integers(0, 100_000), st.text("abc", min_size=1, max_size=3), max_size=8),
    st.sampled_from([0.001, 0.1, 0.3, 1 / 3, 1.0, 7.0]) | st.floats(1e-6, 1e6),
)
def test_what_is_drawn_can_be_read(cells, tick):
    assert read(draw(cells, tick=tick), tick=tick) == cells


def test_diagrams_are_aligned_in_time_and_still_can_be_read():
    one, other = read("a--(bc)-a"), read("a--b-----a")
    above, below, pointers = align([one, other])
    assert (above, below, pointers) == (
        "a--(bc)-a----",
        "a--b   -----a",
        "   ^    ^   ^",
    )
    assert [read(above), read(below)] == [one, other]


# --- A peer that plays one --------------------------------------------------------------------------------------------


async def play(script, *, stop_after=None, seconds=30, **fields):
    """What a connection tells of a peer, and the transport."""
    transport = ScriptedTransport(script)
    async with Project(websocket={"chat": {"url": "ws://chat.test/", **fields}}, transport=transport) as project:
        chat = project.websocket("chat")
        recording = record(chat)
        chat.start()
        if stop_after is not None:
            await asyncio.sleep(stop_after)
            chat.stop(code=3000, reason="enough")
        await asyncio.sleep(seconds)
    return recording, transport


@pytest.mark.parametrize(
    ("diagram", "told"),
    [
        ("o", "(co) 29.9s (xs)"),
        ("--o--m-m--X-|", "c-o--m-m--X-s"),
        ("--o-m", "c-o-m 29.5s (xs)"),
        ("-o-(mm)m-X", "co-(mm)m-(Xs)"),
        ("-o-X---|", "co-X---s"),
        ("-o-X---#", "co-X---s"),
        ("-o(mX)|", "co(mX)s"),
        ("-o--|", "co--(es)"),
        ("-o--#", "co--(es)"),
        ("-o--v", "co--(eXs)"),
        ("--r", "c-(es)"),
        ("--|", "c-(es)"),
        ("--#", "c-(es)"),
        ("-", "c 9.9s (es)"),
    ],
)
@in_virtual_time
async def test_each_letter_is_something_that_a_peer_does(diagram, told):
    recording, transport = await play(peer_script(diagram))
    recording.assert_marbles(told.replace("eX", "ex"))
    assert len(transport.peers) == 1


@pytest.mark.parametrize(
    ("diagram", "error", "says"),
    [
        ("-o-v", ProtocolError, ""),
        ("-o-|", ConnectionLost, "without a Close frame"),
        ("-o-#", ConnectionLost, "reset"),
    ],
)
@in_virtual_time
async def test_an_end_has_its_error(diagram, error, says):
    recording, _ = await play(peer_script(diagram))
    assert isinstance(recording.stopped[0].error, error)
    assert says in recording.errors[0].message


@pytest.mark.parametrize("messages", [None, ["a", b"b", "c"]])
@in_virtual_time
async def test_messages_are_sent_in_order_and_the_close_frame_behind_them(messages):
    recording, _ = await play(peer_script("-o-m(mm)X", messages=messages, close=(1001, "bye")))
    assert recording.messages == (messages or ["1", "2", "3"])
    assert [(it.code, it.reason, it.was_clean) for it in recording.stopped] == [(1001, "bye", True)]


@in_virtual_time
async def test_other_letters_send_their_values():
    recording, _ = await play(peer_script("-o-a-m-é-aX", messages=["next"], values={"a": "A", "é": b"\xe9"}))
    assert recording.messages == ["A", "next", b"\xe9", "A"]


def after(seconds, *waits):
    """A login that sends so late, and takes as many messages behind each."""

    async def log_in(greeting):
        for wait in waits:
            await asyncio.sleep(seconds)
            await greeting.send("token")
            for _ in range(wait):
                await greeting.receive()

    return log_in


@pytest.mark.parametrize(
    ("diagram", "log_in", "told"),
    [
        ("-(o?)w-m-X", after(0, 1), "c-o-m-(Xs)"),
        ("-o?w-m-X", after(0, 1), "c--o-m-(Xs)"),
        ("-(o?wm)m-X", after(0.5, 1), "c-----(om)m-(Xs)"),
        ("-o?w?w-m-X", after(0.5, 1, 1), "c------------o-m-(Xs)"),
        ("-o-w?-m-X", after(0, 0), "co-m--m-(Xs)"),
        ("-(o?)X", after(0, 1), "c-(eXs)"),
        ("-(o?)#", after(0, 1), "c-(es)"),
        ("-o?X", after(20, 1), "c 9.9s (exs)"),
    ],
)
@in_virtual_time
async def test_a_peer_waits_for_what_a_login_sends(diagram, log_in, told):
    recording, _ = await play(
        peer_script(diagram, values={"w": "welcome"}, close=(1001, "bye")), after_connect=log_in, close_timeout=5
    )
    recording.assert_marbles(told)


@in_virtual_time
async def test_a_pong_is_one_of_the_heartbeat():
    async with project_of(peer_script("-o-p", tick=0.25)) as project:
        round_trips = []
        project.websocket("chat").latency.subscribe(round_trips.append)
        project.websocket("chat").start()
        await asyncio.sleep(1)
    assert round_trips == [0.25]


@pytest.mark.parametrize(
    ("diagram", "fields", "told", "end"),
    [
        ("-o--------X", {}, "co---(xs)", (3000, "", "local")),
        ("-o--------|", {}, "co---(xs)", (3000, "", "local")),
        ("-o--------X-|", {}, "co---x------s", (3000, "", "local")),
        ("-o--------X", {"answers_close": False, "close": (4000, "no")}, "co---x----s", (4000, "no", "local")),
        ("-o", {"answers_close": False}, "co---x 1.9s (es)", (1006, "", "timeout")),
    ],
)
@in_virtual_time
async def test_a_peer_answers_a_close_frame_at_once_unless_told_otherwise(diagram, fields, told, end):
    recording, transport = await play(peer_script(diagram, **fields), stop_after=0.5, close_timeout=2)
    recording.assert_marbles(told)
    assert [(it.code, it.reason, it.initiator) for it in recording.stopped] == [end]
    assert transport.peer.close_frame == (3000, "enough")


@in_virtual_time
async def test_what_a_diagram_says_behind_the_links_end_does_not_happen():
    recording, transport = await play(peer_script("-o--m----m"), stop_after=0.5)
    recording.assert_marbles("co--m(xs)")
    assert transport.peer.is_lost


@in_virtual_time
async def test_a_tick_can_take_another_time():
    async with project_of(peer_script("--o-m-X", tick=2)) as project:
        fine, coarse = record(project.websocket("chat"), tick=0.5), record(project.websocket("chat"), tick=2)
        project.websocket("chat").start()
        await project.websocket("chat").wait_stopped()
    assert coarse.to_marbles() == "c-o-m-(Xs)"
    assert fine.to_marbles() == "c-------o-------m-------(Xs)"


@pytest.mark.parametrize(
    ("diagram", "problem"),
    [
        ("-m-o", r"'-m-o', column 2, 'm': the peer has not accepted yet \('o'\)"),
        ("-X", "column 2, 'X': the peer has not accepted yet"),
        ("-a-o", "column 2, 'a': the peer has not accepted yet"),
        ("-o-o", "column 4, 'o': the peer has accepted already"),
        ("-o-r", "column 4, 'r': the peer has accepted already"),
        ("-oXm", "column 4, 'm': the peer has closed already"),
        ("-oXX", "column 4, 'X': the peer has closed already"),
        ("-ov-p", "column 5, 'p': the peer has closed already"),
        ("-o|-o", "column 5, 'o': the link is over already"),
        ("-r-o", "column 4, 'o': the link is over already"),
        ("-o#m", "column 4, 'm': the link is over already"),
        ("-o-m-m-m", "column 8, 'm': no message is left for it"),
        ("-o-b", "column 4, 'b': it has no meaning here; use one of # X a m o p r v |"),
    ],
)
def test_what_no_peer_could_do_is_named_at_once(diagram, problem):
    with pytest.raises(ValueError, match=problem):
        peer_script(diagram, messages=["1", "2"], values={"a": "A"})


def test_a_message_that_is_never_sent_is_named_at_once():
    with pytest.raises(ValueError, match="no 'm' is left to send the last 2"):
        peer_script("-o-m", messages=["1", "2", "3"])


@pytest.mark.parametrize("letter", ["o", "m", "-", "(", " ", "", "ab"])
def test_a_letter_with_a_meaning_has_no_value(letter):
    with pytest.raises(ValueError, match="cannot be given a value"):
        peer_script("-o", values={letter: "x"})


# --- Several attempts, several connections ----------------------------------------------------------------------------


@in_virtual_time
async def test_each_attempt_has_a_diagram_and_the_last_one_serves_all_that_follow():
    script = attempts("-r", "-o-#", "-o-m-X", close=(1012, ""))
    recording, transport = await play(script, reconnect={**RECONNECT, "factor": 1.0}, seconds=3.2)
    recording.assert_marbles("c(ed)----co-(ed)----co-m-d----co-m-d--(xs)")
    assert len(transport.peers) == 4
    assert recording.messages == ["1", "1"]


@in_virtual_time
async def test_messages_go_from_one_attempt_to_the_next():
    script = attempts("-o-m-m-#", "-o-m-X", messages=["a", "b", "c"])
    recording, _ = await play(script, reconnect=RECONNECT)
    assert recording.messages == ["a", "b", "c"]


@in_virtual_time
async def test_an_attempt_can_be_a_function_of_the_peer():
    script = attempts(lambda peer: peer.refuse("not today", status=503), "-oX")
    recording, _ = await play(script, reconnect=RECONNECT)
    recording.assert_marbles("(ced)----co(Xs)")
    assert recording.errors[0].error.status == 503


def test_attempts_need_a_script_and_use_up_their_messages():
    with pytest.raises(ValueError, match="needs a script"):
        attempts()
    with pytest.raises(ValueError, match="no 'm' is left to send the last 1"):
        attempts("-o-m-#", "-o", messages=["1", "2"])
    with pytest.raises(ValueError, match="no message is left"):
        attempts("-o-m-#", "-o-m", messages=["1"])


@in_virtual_time
async def test_each_connection_has_a_script_by_its_url():
    scripts = {"ws://test/chat": "-oX", "ws://test/feed": attempts("-r", "-o-X")}
    transport = ScriptedTransport(by_url(scripts))
    websocket = {
        "chat": "ws://test/chat?token=secret",
        "feed": {"url": "ws://test/feed", "reconnect": RECONNECT},
        "other": {"url": "ws://test/other", "reconnect": RECONNECT},
    }
    async with Project(websocket=websocket, transport=transport) as project:
        connections: list[Connection] = [project.websocket(name) for name in websocket]
        recordings = [record(connection) for connection in connections]
        for connection in connections:
            connection.start()
        await asyncio.sleep(2)
    assert [recording.to_marbles() for recording in recordings] == ["co(Xs)", "c(ed)----co-(Xs)", "(ces)"]
    assert recordings[2].errors[0].message == (
        "by_url() has no script for ws://test/other (known: ws://test/chat, ws://test/feed)"
    )


@pytest.mark.parametrize(
    "spelt", ["ws://chat.test", "ws://chat.test/", "ws://CHAT.test:80", "ws://me:secret@chat.test/"]
)
@pytest.mark.parametrize("key", ["ws://chat.test", "ws://chat.test/", "ws://Chat.Test:80/", "ws://you@chat.test"])
@in_virtual_time
async def test_a_url_may_be_spelt_in_several_ways(spelt, key):
    recording, _ = await play(by_url({key: "-o-X", "wss://chat.test": "-r"}), url=spelt)
    recording.assert_marbles("co-(Xs)")


@in_virtual_time
async def test_a_url_with_a_query_is_for_that_one_only():
    scripts = {"ws://test?room=1": "-o-X", "ws://test": "-o--X"}
    websocket = {
        "one": "ws://test?room=1",
        "two": {"url": "ws://test/", "query": {"room": "2"}},
        "both": {"url": "ws://test/", "query": {"room": "1"}},
    }
    async with Project(websocket=websocket, transport=ScriptedTransport(by_url(scripts))) as project:
        recordings = [record(project.websocket(name)) for name in websocket]
        for name in websocket:
            project.websocket(name).start()
        await asyncio.sleep(2)
    assert [recording.to_marbles() for recording in recordings] == ["co-(Xs)", "co--(Xs)", "co-(Xs)"]


async def plain_no_more(peer):
    peer.accept()


@pytest.mark.parametrize("take", [attempts, lambda script: by_url({"ws://test": script})])
@pytest.mark.parametrize(
    ("script", "problem"), [(["-o"], "not list"), (plain_no_more, "a coroutine function is not awaited here")]
)
def test_what_cannot_play_a_peer_is_refused(take, script, problem):
    with pytest.raises(TypeError, match=problem):
        take(script)


@pytest.mark.parametrize(
    ("scripts", "error", "problem"),
    [
        (["-o"], TypeError, "a dict of scripts by URL, not list"),
        ({"http://test": "-o"}, ValueError, r"by_url\(\): a URL must begin with ws:// or wss://"),
        ({"ws://test": "-o", "ws://test:80/": "-o"}, ValueError, "two scripts for ws://test:80/"),
    ],
)
def test_what_is_no_url_is_named_at_once(scripts, error, problem):
    with pytest.raises(error, match=problem):
        by_url(scripts)


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"messages": ["a", 3]}, TypeError, "messages: number 2 must be str or bytes, not int"),
        ({"messages": "ab"}, TypeError, "messages must be a list of messages, not str"),
        ({"values": {"a": 5}}, TypeError, "values: 'a' must be str or bytes, not int"),
        ({"close": 1001}, TypeError, "close must be a code and a reason, .*, not 1001"),
        ({"close": (1001, None)}, TypeError, "close must be a code and a reason"),
        ({"close": (1006, "")}, ValueError, "close code 1006 must not be sent.* 'v'"),
        ({"close": (1000, "x" * 300)}, ValueError, "the close reason has 300 bytes"),
    ],
)
@pytest.mark.parametrize("take", [peer_script, attempts])
def test_what_no_peer_could_send_is_named_at_once(take, options, error, problem):
    with pytest.raises(error, match=problem):
        take("-o-m-m-X", **options)
