"""Pictures show what was recorded, at any width, and what others chose stays text in them."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from reactivex import operators as ops

from rxnodes import ConnectionState, Project, pulse
from rxnodes.recording import Message, Messages, Pulse, Recorder, Recording
from rxnodes.recording.entries import LeftOut, Recorded
from rxnodes.recording.lines import Head
from rxnodes.recording.pictures.columns import columns, wrapped
from rxnodes.recording.pictures.lanes import Label, lanes_of
from rxnodes.recording.pictures.scale import Placed, Room, Scale, place, turned
from rxnodes.testing import (
    ScriptedTransport,
    attempts,
    by_url,
    closing,
    connecting,
    dropped,
    events,
    in_virtual_time,
    opened,
    stopped,
)
from rxnodes.websocket import client_send, client_start, client_stop, on_receive, on_start

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert("x")</script>&amp;; end %%{init}%%\x1b[2J\ud800'
COMMON = {"connection": "chat", "session": 1, "attempt": 1, "at": events.AT}


async def demo():
    """A server that is slow to close, as in `rxnodes demo`."""

    def script(peer):
        loop = asyncio.get_running_loop()

        def answer():
            for number in range(1, 4):
                loop.call_later(number * 0.06, peer.send, "more")
            loop.call_later(0.24, peer.close, 1000, "goodbye")

        peer.expect_close(answer)
        peer.expect(lambda _: peer.send("hello"))
        peer.accept()

    project = Project(websocket={"demo": "ws://demo.test/"}, transport=ScriptedTransport(script))
    chat = project.websocket("demo")
    with Recorder(project) as recorder:
        async with project:
            project.subscribe(
                on_start(chat).pipe(client_send(chat, "hello")),
                on_receive(chat).pipe(ops.filter("hello".__eq__), client_stop(chat)),
                pulse().pipe(client_start(chat)),
            )
            await chat.wait_stopped()
    return recorder.recording


async def troubled():
    """Two connections: one that comes back, and one that is refused."""
    peers = {"ws://a/": attempts("--o-m-#", "r", "-oX", close=(4000, "too </slow>")), "ws://b/": "--r"}
    fields = {
        "url": "ws://a/",
        "reconnect": {"enabled": True, "initial_delay": 0.5, "jitter": False, "final_codes": [4000]},
    }
    project = Project(websocket={"feed": fields, "chat": "ws://b/"}, transport=ScriptedTransport(by_url(peers)))
    with Recorder(project) as recorder:
        async with project:
            for name in ("feed", "chat"):
                project.websocket(name).start()
            for name in ("feed", "chat"):
                await project.websocket(name).wait_stopped()
    return recorder.recording


def recording_of(*entries, states=None):
    recorded = [Recorded(time, value) for time, value in entries]
    return Recording(Head(events.AT, states or {}), lambda: recorded)


def hostile():
    return recording_of(
        (0.0, connecting(connection=HOSTILE)),
        (0.1, opened(connection=HOSTILE)),
        (0.2, Pulse(**{**COMMON, "connection": HOSTILE}, node=HOSTILE)),
        (0.3, stopped(4000, HOSTILE, connection=HOSTILE)),
    )


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


# --- SVG --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_svg_shows_the_stretch_from_the_stops_pulse_to_on_stop():
    svg = (await demo()).to_svg()
    root = ET.fromstring(svg)  # noqa: S314 - our own
    shown = texts(svg)
    for text in (
        *("demo", "Client Start", "On Start", "Client Send", "Client Stop", "On Stop", "Close 1000 “goodbye”"),
        *("On Stop: 240 ms after the pulse", "3 messages still came in between"),
    ):
        assert text in shown
    by_class = [element.get("class", "") for element in root.iter()]
    assert by_class.count("aside") == by_class.count("brace") == 1
    marbles = [it.get("class") for it in root.iter(f"{SVG}circle")]
    # And one of each in the legend.
    assert marbles.count("in") == 4 + 1
    assert marbles.count("out") == 1 + 1


@in_virtual_time
async def test_the_svg_tells_those_who_do_not_see_it():
    root = ET.fromstring((await demo()).to_svg())  # noqa: S314 - our own
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
    assert title.text == "demo: a recording of 240 ms"
    assert "4 messages came, 1 were sent" in description.text
    assert "On Stop: 240 ms after the pulse; 3 messages still came in between" in description.text


@in_virtual_time
async def test_the_svg_shows_attempts_delays_and_ends():
    shown = texts((await troubled()).to_svg())
    for text in (
        *("feed", "chat", "attempt 2", "attempt 3", "error: refused", "1006, no Close frame"),
        *("waits 500 ms", "waits 1 s", "Close 4000 “too </slow>”", "waits to try again"),
    ):
        assert text in shown


@in_virtual_time
async def test_the_svg_fits_any_width_and_light_and_dark():
    svg = (await troubled()).to_svg()
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert root.get("width") == "100%"
    assert root.get("viewBox") is None
    assert "prefers-color-scheme: dark" in svg
    # Nothing is asked for from elsewhere.
    assert re.findall(r"(?:href|src|url\(|@import)", svg) == []
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]


def test_what_others_chose_is_text_in_the_svg():
    svg = hostile().to_svg()
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert {it.tag.removeprefix(SVG) for it in root.iter()} <= {
        *("svg", "title", "desc", "style", "rect", "line", "text", "circle", "path"),
    }
    assert not [name for it in root.iter() for name in it.attrib if name.startswith("on") or "href" in name]
    assert any("<script>" in (text or "") for text in texts(svg))
    assert svg.isascii()


def test_dense_messages_are_columns_and_few_are_marbles():
    run = Messages(**COMMON, direction="in", kind="text", count=1000, size=5000, span=0.1)
    alone = Message(**COMMON, direction="in", kind="text", size=5)
    svg = recording_of(
        (0.0, connecting()), (0.1, opened()), *((0.2 + n / 10, run) for n in range(10)), (3, alone)
    ).to_svg()
    root = ET.fromstring(svg)  # noqa: S314 - our own
    titles = [it.find(f"{SVG}title").text for it in root.iter(f"{SVG}rect") if it.get("class") == "in"]
    assert sum(int(title.split()[0]) for title in titles) == 10_000
    assert len([it for it in root.iter(f"{SVG}circle") if it.get("class") == "in"]) == 1 + 1


def test_a_picture_is_bounded_however_much_was_recorded():
    many = [(n / 25, Message(**COMMON, direction="in", kind="text", size=5)) for n in range(5_000)]
    pulses = [(n / 100, Pulse(**COMMON, node="WebSocket Client Send")) for n in range(500)]
    svg = recording_of((0.0, connecting()), (0.0, opened()), *many, *pulses, (200.0, stopped())).to_svg()
    assert len(svg) < 150_000
    left_out = recording_of((0.0, LeftOut(messages=7)), (0.0, connecting())).to_svg()
    assert "Left out: 7 messages, 0 pulses, 0 events." in texts(left_out)


def test_what_was_under_way_when_the_recording_began_is_shown():
    recording = recording_of((1.0, closing()), (2.0, dropped()), states={"chat": ConnectionState.OPEN})
    [lane] = lanes_of(Head(events.AT, {"chat": ConnectionState.OPEN}), recording.recorded).lanes
    assert [(band.state.value, band.begin) for band in lane.bands] == [
        ("open", 0.0),
        ("closing", 1.0),
        ("reconnecting", 2.0),
    ]
    [stretch] = lane.stretches
    assert stretch.lines() == ("no On Stop yet, 1 s after the stop",)


def test_what_is_said_very_often_is_said_once():
    entries = [(0.0, connecting()), (0.1, opened())]
    for attempt in range(2, 52):
        entries.append((attempt * 10.0, dropped(1012, "restarting", retry_in=1)))
        entries.append((attempt * 10.0 + 1, connecting(attempt=attempt)))
        entries.append((attempt * 10.0 + 2, opened(attempt=attempt)))
    shown = texts(recording_of(*entries).to_svg())
    assert "Close 1012 “restarting” \u00d750" in shown
    assert "On Start \u00d751" in shown
    assert [text for text in shown if text.startswith("attempt")] == ["attempt 51"]


def test_a_long_session_has_round_times_on_its_axis():
    shown = texts(recording_of((0.0, connecting()), (0.1, opened()), (3600.0, stopped())).to_svg())
    assert {"10 min", "30 min", "50 min", "1 h"} <= {*shown}


@pytest.mark.slow
def test_very_much_is_drawn_in_a_moment():
    """Five hundred connections, twenty-five thousand messages, and one that came back fifty times within an hour."""
    names = [f"feed {number:03}" for number in range(500)]
    entries = []
    for number, name in enumerate(names):
        begin = number / 1000
        entries += [(begin, connecting(connection=name)), (begin + 0.01, opened(connection=name))]
        common = {**COMMON, "connection": name, "direction": "in", "kind": "text", "size": 5}
        entries += [(begin + n * 72, Message(**common)) for n in range(1, 50)]
        entries.append((3599 + begin, stopped(1001, "bye", connection=name)))
    for attempt in range(1, 51):
        entries.append((attempt * 70, dropped(1012, "restarting", retry_in=1.5, connection=names[0])))
        entries.append((attempt * 70 + 1.5, connecting(connection=names[0], attempt=attempt + 1)))
        entries.append((attempt * 70 + 1.6, opened(connection=names[0], attempt=attempt + 1)))
    recording = recording_of(*sorted(entries, key=lambda it: it[0]))
    began = time.process_time()
    assert recording.to_svg().count("On Stop") >= 500
    assert len(recording.to_marbles().splitlines()) == 500
    assert recording.to_text()
    assert recording.to_mermaid()
    assert time.process_time() - began < 5


def test_nothing_is_a_picture_too():
    assert texts(recording_of().to_svg()) == ["Nothing was recorded."]
    assert recording_of().to_mermaid() == "sequenceDiagram\n"
    assert recording_of().to_text()
    assert repr(recording_of()) == "<Recording of nothing>"


# --- Where things stand -----------------------------------------------------------------------------------------------


def test_the_scale_gives_room_to_each_moment_and_keeps_the_order():
    moments = [0.0, 0.001, 0.002, 0.003, 10.0, 3600.0]
    scale = Scale(moments)
    places = [scale.place(moment) for moment in moments]
    assert (places[0], places[-1]) == (0.0, pytest.approx(1.0))
    assert all(after - before > 0.04 for before, after in pairwise(places))
    assert places[3] < scale.place(5.0) < places[4]
    assert scale.place(9999) == 1.0
    assert Scale([0.0]).place(3.0) == 0.0


def test_labels_do_not_overlap():
    labels = [Label(time, f"label {time}") for time in (0.0, 0.1, 0.1, 0.2, 0.5, 0.9, 1.0)]
    placed = place(labels, Scale([0.0, 1.0]), Room(300, 0, 7, 6, is_above=True))
    spans = {}
    for it in placed:
        begin, end = _span(it)
        assert begin >= -1
        for left, right in spans.setdefault(it.row, []):
            assert end <= left or right <= begin
        spans[it.row].append((begin, end))
    assert len(placed) == len(labels)


def _span(placed):
    at, length = placed.at * 300, max(map(len, placed.lines)) * 7
    return (at - length, at) if placed.is_left else (at, at + length)


@pytest.mark.parametrize("is_above", [True, False])
@pytest.mark.parametrize("times", [(0.0, 0.02, 0.04, 0.1), (0.9, 0.92, 1.0), (0.0, 0.05, 0.4, 0.93, 0.97, 1.0)])
def test_no_line_crosses_a_label(times, is_above):
    placed = place([Label(time, "a label") for time in times], Scale([0.0, 1.0]), Room(300, 0, 7, 6, is_above))
    assert len(placed) == len(times)
    for it in placed:
        begin, end = _span(it)
        assert not [other for other in placed if other.row > it.row and begin < other.at * 300 < end]


def test_a_label_begins_where_it_tells_of_something_once_there_is_room():
    """As the late send of the demo, which is no part of the stretch before it."""
    on_stop, send = Label(0.9, "On Stop"), Label(0.95, "Client Send")
    wider = [Room(width, 60 * width / 900, 7, 6, is_above=True) for width in (500, 900, 2000)]
    placed = place([on_stop, send], Scale([0.0, 1.0]), Room(300, 0, 7, 6, is_above=True))
    assert [it.is_left for it in placed] == [True, True]
    # That of On Stop would be crossed by the line of the send, up to where they are 56 pixels apart.
    assert {it.label: number for it, number in turned(placed, wider).items()} == {send: 1, on_stop: 2}
    # Of two in a row, the one does not begin where the other would be touched.
    long = Label(0.9, "longer than there is room")
    placed = [Placed(it, (it.text,), it.time, 0, is_left=True) for it in (long, send)]
    assert {it.label for it in turned(placed, wider)} == {send}


def test_what_is_too_long_for_a_line_takes_more_below_the_band():
    says = "error: 'demo' is closed, not open: message not sent"
    short, long = Label(1.0, "Close 1000"), Label(1.0, says)
    placed = place([short, long], Scale([0.0, 1.0]), Room(300, 0, 7, 6, is_above=False))
    [lines] = [it.lines for it in placed if it.label is long]
    assert len(lines) == 2
    assert " ".join(lines) == says
    [above] = place([long], Scale([0.0, 1.0]), Room(300, 0, 7, 6, is_above=True))
    assert above.lines[0].endswith("…")


@pytest.mark.parametrize(
    "text", ["the quick brown fox jumps over", "日本語の理由がとても長いです", "x" * 40, "a " * 20, " ", ""]
)
@pytest.mark.parametrize("fits", [2, 5, 16])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_lines_keep_to_their_columns_and_lose_nothing_without_saying_so(text, fits, most):
    lines = wrapped(text, fits, most)
    assert 1 <= len(lines) <= most
    assert max(map(columns, lines)) <= fits
    if not lines[-1].endswith("…"):
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_where_there_is_no_room_what_weighs_least_goes():
    labels = [Label(0.5, f"label {weight}", weight) for weight in range(1, 9)]
    placed = place(labels, Scale([0.0, 1.0]), Room(300, 0, 7, 3, is_above=False))
    assert {it.lines for it in placed} == {("label 6",), ("label 7",), ("label 8",)}


# --- In a terminal ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_text_shows_the_same():
    assert (await demo()).to_text(79) == [
        "demo",
        "       Client Start",
        "       On Start",
        "       Client Send",
        "       Client Stop                                                    On Stop",
        "in     ●               ●               ●              ●               │",
        f"state  ▒ closing {'▒' * 53}·········",
        "out    ●                                                              │",
        f"       └{'─' * 62}┘",
        "       On Stop: 240 ms after the pulse",
        "       3 messages still came in between",
        "                                                   Close 1000 “goodbye”",
        "       0                                                         240 ms",
    ]


@pytest.mark.parametrize("width", [40, 60, 79, 200])
@pytest.mark.parametrize("is_unicode", [True, False])
@in_virtual_time
async def test_the_text_is_never_wider_than_it_may_be(width, is_unicode):
    wide = recording_of(
        (0.0, connecting(connection="名前" * 30)),
        (0.5, opened(connection="名前" * 30)),
        (1.0, stopped(4000, "理由" * 20 + "e\u0301" * 20, connection="名前" * 30)),
    )
    for recording in (await demo(), await troubled(), hostile(), wide):
        lines = recording.to_text(width, is_unicode=is_unicode)
        assert max(map(columns, lines)) <= width
        assert is_unicode or all(line.isascii() for line in lines)
        assert not any("\x1b" in line for line in lines)


def test_too_little_room_is_refused():
    with pytest.raises(ValueError, match="40 columns or more, not 39"):
        recording_of().to_text(39)


# --- Mermaid ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_mermaid_diagram_sets_the_stretch_off():
    assert (await demo()).to_mermaid().splitlines() == [
        "sequenceDiagram",
        "    participant c1 as demo",
        "    participant p1 as demo: peer",
        "    Note left of c1: WebSocket Client Start, 0 ms",
        "    c1->>p1: connect, attempt 1",
        "    p1-->>c1: open after 0 ms",
        "    Note left of c1: On WebSocket Start, 0 ms",
        "    Note left of c1: WebSocket Client Send, 0 ms",
        "    c1->>p1: a message, 5 bytes",
        "    p1->>c1: a message, 5 bytes",
        "    rect rgba(194, 37, 92, 0.1)",
        "    Note left of c1: WebSocket Client Stop, 0 ms",
        "    c1->>p1: Close",
        "    p1->>c1: 3 messages, 12 bytes",
        "    p1-->>c1: Close 1000 #8220;goodbye#8221;",
        "    Note left of c1: On WebSocket Stop, 240 ms",
        "    end",
    ]


@in_virtual_time
async def test_the_mermaid_diagram_shows_attempts_and_ends():
    text = (await troubled()).to_mermaid()
    for line in (
        "c1->>p1: connect, attempt 3",
        "p1--xc1: 1006, no Close frame",
        "Note right of c1: next attempt in 1 s",
    ):
        assert f"    {line}\n" in text


def test_what_others_chose_is_no_mermaid():
    for line in hostile().to_mermaid().splitlines():
        assert not set(re.sub("-[->x]*>?", "", line)) & set("<>{}%\x1b\"'")
        assert ";" not in re.sub(r"#\d+;", "", line)
        assert line.strip() == "end" or not re.search(r"\bend\b", line)


@pytest.mark.parametrize("connections", [1, 100])
def test_a_mermaid_diagram_is_of_a_size_that_mermaid_draws(connections):
    """Of 50,000 characters at most."""
    entries = []
    for number in range(connections):
        common = {**COMMON, "connection": f"feed {number}"}
        own = {"connection": f"feed {number}"}
        entries += [(0.0, connecting(**own)), (0.1, opened(**own))]
        for exchange in range(2_000 // connections):
            entries.append((1.0 + exchange, Pulse(**common, node="WebSocket Client Send")))
            entries.append((1.0 + exchange, Message(**common, direction="out", kind="text", size=2)))
            entries.append((1.5 + exchange, Message(**common, direction="in", kind="text", size=3)))
        entries += [(1e5, Pulse(**common, node="WebSocket Client Stop")), (1e5, closing(**own)), (1e5, stopped(**own))]
    drawn = recording_of(*sorted(entries, key=lambda it: it[0])).to_mermaid()
    assert len(drawn) < 50_000
    assert drawn.count("rect") == drawn.count("    end\n")
    if connections == 1:
        assert "    p1->>c1: 2000 messages, 6000 bytes\n" in drawn
        assert "    Note left of c1: WebSocket Client Send, 2000 times" in drawn
    else:
        assert " more lines\n" in drawn
