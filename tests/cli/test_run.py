"""`rxnodes run`."""

from __future__ import annotations

import gc
import signal
import sys

import pytest
from commands import child, fails, read_until

from rxnodes.cli import main as cli
from rxnodes.testing import echo, never_answer_close

PROGRAM = """
import asyncio
import functools
import gc
import sys

from rxnodes import pulse
from rxnodes.websocket import client_send, client_start, on_receive, on_start, on_stop

value = 5


async def collects(project):
    print(gc.get_threshold()[0], gc.get_freeze_count())


def graph(project):
    chat = project.websocket("chat")
    print(project.loop.is_running(), chat.state, flush=True)
    project.subscribe(
        on_start(chat).pipe(client_send(chat, "hello")),
        pulse().pipe(client_start(chat)),
    )
    on_receive(chat).subscribe(lambda text: print(text, flush=True))
    on_stop(chat).subscribe(lambda stopped: print(stopped.code, stopped.initiator, flush=True))


async def main(project):
    graph(project)
    print(await project.websocket("chat").wait_started() and "started")


class Names:
    later = functools.partial(main)


def raises(project):
    project.websocket("other")


async def fails(project):
    graph(project)
    await project.websocket("chat").wait_started()
    raise ValueError("in the middle")


async def waits(project):
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


def pieces(project):
    yield


async def leaves(project):
    sys.exit("that was all")
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "a_program.py").write_text(PROGRAM)
    (tmp_path / "of_no_use.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "no_python.py").write_text("def main(:\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("a_program", None)


STARTED = "True idle\nstarted\n1000 local\n"


@pytest.mark.parametrize("function", ["main", "Names.later"])
def test_a_coroutine_function_runs_until_it_returns(function, chat, capsys):
    chat(echo)
    assert cli.main(["run", f"a_program:{function}"]) == 0
    printed = capsys.readouterr()
    assert printed.out.replace("hello\n", "") == STARTED
    assert not printed.err


def test_the_settings_can_be_elsewhere(serve, settings, capsys):
    settings(f'connections.chat = "{serve(echo)}"', folder="elsewhere")
    assert cli.main(["run", "a_program:main", "elsewhere"]) == 0
    assert capsys.readouterr().out.startswith("True idle\n")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_function_runs_until_a_signal_comes(number, status, chat):
    chat(echo)
    with child("run", "a_program:graph") as process:
        read_until(process.stdout, "hello")
        process.send_signal(number)
        assert process.stdout.read() == "1000 local\n"
        assert not process.stderr.read()
        assert process.wait() == status


def test_what_lives_long_is_not_looked_through_while_a_program_runs(settings, capsys):
    settings("")
    before = gc.get_threshold(), gc.get_freeze_count()

    assert cli.main(["run", "a_program:collects"]) == 0

    threshold, frozen = map(int, capsys.readouterr().out.split())
    assert threshold > before[0][0]
    assert frozen > before[1]
    assert gc.get_threshold() == before[0]
    assert gc.get_freeze_count() > before[1] / 2, "what the caller has frozen stays so"


@pytest.mark.slow
def test_a_second_signal_aborts(chat):
    chat(never_answer_close, "close_timeout = 60")
    with child("run", "a_program:graph") as process:
        read_until(process.stdout, "idle")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("nowhere:main", "there is no module 'nowhere', neither in the current directory nor installed"),
        ("a_program.part:main", "there is no module 'a_program.part'"),
        ("a_program:mian", "the module 'a_program' has no 'mian'"),
        ("a_program:Names.sooner", "the module 'a_program' has no 'Names.sooner'"),
        ("a_program:value", "a_program:value is not a function, but int"),
        ("a_program:pieces", "a_program:pieces is a generator function, for it has a yield: nothing of it would run"),
    ],
)
def test_what_is_no_function(function, problem, capsys):
    errors = fails(["run", function], capsys)
    assert errors.startswith(f"rxnodes: {problem}")
    assert len(errors.splitlines()) == 1


def test_without_settings(capsys):
    assert "settings: there is no such folder" in fails(["run", "a_program:main"], capsys)


@pytest.mark.parametrize(
    ("function", "first", "last"),
    [
        ("a_program:raises", 'a_program.py", line ', "rxnodes: a_program:raises raised UnknownConfiguration"),
        ("a_program:fails", 'a_program.py", line ', "rxnodes: a_program:fails raised ValueError"),
        ("a_program:waits", 'a_program.py", line ', "rxnodes: a_program:waits raised CancelledError"),
        ("of_no_use:main", 'of_no_use.py", line 1', "rxnodes: of_no_use cannot be imported"),
        ("no_python:main", 'no_python.py", line 1', "rxnodes: no_python cannot be imported"),
    ],
)
def test_what_a_program_raises_is_shown_from_where_it_is_not_ours(function, first, last, chat, capsys):
    chat(echo)
    assert cli.main(["run", function]) == 1
    printed = capsys.readouterr()
    files = [line for line in printed.err.splitlines() if line.startswith("  File ")]
    assert first in files[0]
    assert printed.err.endswith(f"{last}\n")
    # It has ended in order all the same.
    assert ("1000 local" in printed.out) is (function == "a_program:fails")


def test_a_program_that_exits(chat, capsys):
    chat(echo)
    assert cli.main(["run", "a_program:leaves"]) == 1
    assert capsys.readouterr().err == "that was all\n"
