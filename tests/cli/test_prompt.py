"""Typing at `rxnodes listen`, on real terminals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading

import pytest
from terminals import Terminal

from rxnodes.testing import CloseReceived, never_answer_close, never_answer_handshake

pytestmark = pytest.mark.slow


def answer(*texts):
    """A script that answers each message with these, with the message in them."""

    async def script(peer):
        await peer.accept()
        try:
            while True:
                message = await peer.receive_message()
                for text in texts:
                    await peer.send_text(text.format(message))
        except CloseReceived as close:
            await peer.send_close(close.code)

    return script


def test_what_is_typed_stays_below_what_comes(serve):
    with Terminal("listen", serve(answer("{}, one", "{}, two"))) as terminal:
        terminal.see_text("open after")
        terminal.type("first\rhalf a li")
        terminal.see_last("> first", "first, one", "first, two", "> half a li")
        terminal.type("ne\r")
        terminal.see_last("> half a line", "half a line, one", "half a line, two", "> ")
        terminal.type("\x1b[A\x1b[A")
        terminal.see_last("> first")


def test_a_narrow_terminal(serve):
    with Terminal("listen", serve(answer("{}", "日本語 and more than fits")), columns=20) as terminal:
        terminal.see_text("open after")
        terminal.type("x\r0123456789 0123456789 日本語")
        terminal.see_text("> x" + "x" + "日本語 and more than" + " fits" + "> 0123456789 0123456" + "789 日本語")
        terminal.type("\r")
        terminal.see_last(" fits", "> ")
        assert terminal.lines.count("> 0123456789 0123456") == 1


def test_several_lines_are_pasted_with_what_would_drive_the_terminal(serve):
    with Terminal("listen", serve(answer("{}."))) as terminal:
        terminal.see_text("open after")
        terminal.type("\x1b[200~one\n\x1b[2Jtwo\x1b[201~\r")
        terminal.see_last("> one", r"> \x1b[2Jtwo", "one.", r"\x1b[2Jtwo.", "> ")


def test_a_line_that_is_typed_early_waits(serve):
    may_open = threading.Event()

    async def late(peer):
        await asyncio.to_thread(may_open.wait)
        await answer("{}, late")(peer)

    with Terminal("listen", serve(late)) as terminal:
        terminal.see_last("> ")
        terminal.type("early\r")
        terminal.see_last("> early", "> ")
        may_open.set()
        terminal.see_last("early, late", "> ")


@pytest.mark.parametrize(
    ("script", "keys", "status"),
    [
        (answer("{}"), "half a line\x03", 130),
        (answer("{}"), "\x12searching\x03", 130),
        (answer("{}"), "a line\r\x03", 130),
        (never_answer_handshake, "early\r\x03", 130),
        (never_answer_close, "twice\x03\x03", 130),
        (answer("{}"), "\x04\x03", 130),
        (answer("{}"), signal.SIGTERM, 143),
    ],
)
def test_the_terminal_is_left_as_it_was(script, keys, status, serve):
    with Terminal("listen", serve(script)) as terminal:
        terminal.see_last("> ")
        assert not terminal.is_as_before
        if isinstance(keys, str):
            terminal.type(keys)
        else:
            terminal.process.send_signal(keys)
        assert terminal.wait() == status
        assert terminal.is_as_before
        assert not terminal.lines[-1]
        assert "closing, begun by us (Ctrl+C again aborts)" in "\n".join(terminal.lines)
        assert re.search(r"stopped: [^;]* ended by us; .* in \d\.\d s$", "".join(terminal.lines))


def test_the_end_of_the_input_ends_nothing(serve):
    goes_on = threading.Event()

    async def script(peer):
        await peer.accept()
        await asyncio.to_thread(goes_on.wait)
        await peer.send_text("more")
        with contextlib.suppress(CloseReceived):
            await peer.receive_message()

    with Terminal("listen", serve(script)) as terminal:
        terminal.see_text("open after")
        terminal.type("\x04")
        terminal.see_text("end of input; Ctrl+C closes the connection")
        goes_on.set()
        terminal.see_last("end of input; Ctrl+C closes the connection", "more", "")


def test_a_reader_that_goes_away(serve):
    reading, writing = os.pipe()
    with Terminal("listen", serve(answer("{}")), stdout=writing) as terminal:
        os.close(writing)
        terminal.see_text("open after")
        terminal.type("one\rhalf a li")
        terminal.see_last("> one", "> half a li")
        assert os.read(reading, 100) == b"one\n"
        os.close(reading)
        terminal.type("ne\r")
        assert terminal.wait() == 0
        assert terminal.is_as_before
        assert "stopped: 1000 normal closure, clean" in "".join(terminal.lines)


@pytest.mark.parametrize("colour", [True, False])
def test_colour(colour, serve):
    with Terminal("listen", serve(answer("{}")), NO_COLOR="" if colour else "1") as terminal:
        terminal.see_text("open after")
        terminal.type("one\r")
        terminal.see_last("> one", "one", "> ")
    styles = {style for style in re.findall(rb"\x1b\[([\d;]*)m", terminal.raw) if style.strip(b"0")}
    assert bool(styles) is colour


def test_a_terminal_that_can_do_nothing_reads_lines(serve):
    with Terminal("listen", serve(answer("{}!")), TERM="dumb") as terminal:
        terminal.see_text("open after")
        terminal.type("one\n")
        terminal.see_last("one", "one!", "")
        assert b"\x1b" not in terminal.raw


def test_in_the_background_it_reads_nothing_and_is_not_stopped(serve):
    url = serve(answer("{}!"))
    with Terminal("listen", url, "--send", "hello", script='"$@" & read line; echo "the shell has $line"') as terminal:
        terminal.see_text("hello!")
        terminal.type("this\n")
        terminal.see_text("the shell has this")
