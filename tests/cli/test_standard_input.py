"""Standard input of `rxnodes listen`, where it is piped."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import pytest
from commands import child, read_until

from rxnodes.cli import main as cli
from rxnodes.cli.standard_input import lines_of
from rxnodes.testing import CloseReceived, echo, in_turn, never_answer_handshake


def collect(seen, count):
    """A script that notes so many messages, and closes."""

    async def script(peer):
        await peer.accept()
        for _ in range(count):
            seen.append(await peer.receive_message())
        await peer.send_close()
        with contextlib.suppress(CloseReceived):
            await peer.receive_message()

    return script


@pytest.fixture
def pipe(monkeypatch):
    """Gives what stands for standard input to commands in this process; returns its other end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as stdin, os.fdopen(writing, "wb", buffering=0) as file:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield file


def test_every_line_is_a_message_and_the_end_ends_nothing(pipe, serve, capsys):
    seen = []
    url = serve(collect(seen, 6))
    pipe.write("first\n\ndéjà vu 👩\u200d🚀\nfrom elsewhere\r\nlast".encode())
    pipe.close()
    # --send comes first: a login, say.
    assert cli.main(["listen", url, "--send", "hello"]) == 0
    assert seen == ["hello", "first", "", "déjà vu 👩\u200d🚀", "from elsewhere", "last"]
    assert "rxnodes: " not in capsys.readouterr().err


def test_lines_wait_for_the_connection_to_open(pipe, chat, capsys):
    seen = []

    async def too_early(peer):
        await peer.respond(503)

    chat(in_turn(too_early, too_early, collect(seen, 2)), "reconnect = { enabled = true, initial_delay = 0.01 }")
    pipe.write(b"1\n2\n")
    assert cli.main(["listen", "chat"]) == 0
    assert seen == ["1", "2"]
    assert "error (send)" not in capsys.readouterr().err


def test_lines_that_come_once_it_closes_are_dropped_in_silence(pipe, serve, capsys):
    seen = []
    url = serve(collect(seen, 1))
    pipe.write(b"line\n" * 1000)
    assert cli.main(["listen", url]) == 0
    assert seen == ["line"]
    assert "error" not in capsys.readouterr().err


def test_a_terminal_without_a_name_is_read_like_a_pipe(serve, monkeypatch):
    seen = []
    keys, terminal = os.openpty()

    def no_name(_descriptor):
        raise FileNotFoundError

    monkeypatch.setattr(os, "ttyname", no_name)
    with os.fdopen(keys, "wb", buffering=0) as keyboard, os.fdopen(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        keyboard.write(b"one\ntwo\n")
        assert cli.main(["listen", serve(collect(seen, 2))]) == 0
    assert seen == ["one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["standard input is not UTF-8", "standard input cannot be read: "])
def test_what_cannot_be_read_is_told_and_ends_nothing(problem, serve, tmp_path):
    (tmp_path / "latin").write_bytes("good\nd\xe9j\xe0 vu\nlost\n".encode("latin-1"))
    stdin = os.open(tmp_path / "latin", os.O_RDONLY if "UTF-8" in problem else os.O_WRONLY)
    with child("listen", serve(echo), stdin=stdin) as process:
        os.close(stdin)
        read_until(process.stderr, problem)
        process.send_signal(signal.SIGINT)
        assert "stopped: " in process.stderr.read().splitlines()[-1]
        assert process.stdout.read() == ("good\n" if "UTF-8" in problem else "")
        assert process.wait() == 130


@pytest.fixture
def large_file(tmp_path):
    """A file of 20,000 lines with 64 bytes each."""
    (tmp_path / "large").write_bytes((b"x" * 63 + b"\n") * 20_000)
    with (tmp_path / "large").open(encoding="utf-8") as file:
        yield file


def offset(file):
    """How far a file has been read."""
    return os.lseek(file.fileno(), 0, os.SEEK_CUR)


async def test_it_reads_on_when_the_lines_so_far_were_taken(large_file):
    async with contextlib.aclosing(lines_of(large_file.fileno())) as lines:
        for _ in range(1024):
            await anext(lines)
            assert offset(large_file) == 65536
        await anext(lines)
        assert offset(large_file) == 2 * 65536


def test_a_line_is_sent_when_the_one_before_has_left(large_file, chat, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", large_file)
    chat(never_answer_handshake, "connect_timeout = 0.2")
    assert cli.main(["listen", "chat"]) == 1
    assert ", 1 unsent, " in capsys.readouterr().err
    assert offset(large_file) == 65536


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="the system has no /dev/zero")  # noqa: PTH110
async def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("rxnodes.cli.standard_input._LONGEST", 1_000_000)
    with open("/dev/zero", "rb") as zeros:  # noqa: ASYNC230, PTH123
        with pytest.raises(ValueError, match="longer than 1000000 bytes"):
            await anext(lines_of(zeros.fileno()))
