"""Virtual time: a loop's clock, the time of day that goes with it, and tests that run in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops

from rxnodes import Dropped, Opened, Project, pulse
from rxnodes.testing import (
    ScriptedTransport,
    VirtualTimeLoop,
    in_virtual_time,
    peer_script,
    record,
    run_in_virtual_time,
)
from rxnodes.websocket import client_start


@pytest.fixture
def answer():
    return 42


@pytest.mark.parametrize("factor", [1, 2])
@in_virtual_time
async def test_parameters_are_fixtures_as_ever(answer, factor):
    await asyncio.sleep(3600)
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    assert asyncio.get_running_loop().time() == 3600
    assert answer * factor in (42, 84)


class TestInAClass:
    @in_virtual_time
    async def test_a_method(self, answer):
        await asyncio.sleep(60)
        assert (type(self), answer) == (TestInAClass, 42)


def test_what_it_returns_and_what_it_raises():
    @in_virtual_time
    async def divide(dividend: int, *, by: int) -> float:
        """Divides."""
        return dividend / by

    assert divide(1, by=2) == 0.5
    assert (divide.__name__, divide.__doc__) == ("divide", "Divides.")
    with pytest.raises(ZeroDivisionError):
        divide(1, by=0)


@pytest.mark.slow
def test_plain_pytest_runs_it(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import asyncio\n"
        "from rxnodes.testing import in_virtual_time\n"
        "@in_virtual_time\n"
        "async def test_good(tmp_path): await asyncio.sleep(3600)\n"
        "@in_virtual_time\n"
        "async def test_bad(): assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "-q", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    assert "1 failed, 1 passed" in done.stdout, done.stdout


@in_virtual_time
async def test_the_time_of_day_goes_with_the_loops():
    loop = asyncio.get_running_loop()
    before = loop.utc_now()
    await asyncio.sleep(3600.5)
    assert loop.utc_now() - before == timedelta(seconds=3600.5)
    assert loop.utc_now() - timedelta(seconds=loop.time()) <= datetime.now(UTC)


@in_virtual_time
async def test_events_and_schedulers_have_that_time_of_day():
    transport = ScriptedTransport(peer_script("-o----|"))
    chat = {"url": "ws://chat.test/", "reconnect": {"enabled": True, "initial_delay": 20, "jitter": False}}
    async with Project(websocket={"chat": chat}, transport=transport) as project:
        recording = record(project.websocket("chat"))
        stamps = []
        project.subscribe(
            pulse().pipe(client_start(project.websocket("chat"))),
            pulse().pipe(ops.delay(21), ops.timestamp(), ops.do_action(lambda it: stamps.append(it.timestamp))),
        )
        await asyncio.sleep(21.05)
    first, second = (it.value for it in recording.of(Opened))
    assert recording.of(Dropped)[0].value.at - first.at == timedelta(seconds=0.5)
    assert second.at - first.at == timedelta(seconds=20.6)
    assert abs(stamps[0] - first.at - timedelta(seconds=20.9)) < timedelta(milliseconds=1)


def test_threads_are_waited_for_at_the_end():
    begun, ended = threading.Event(), threading.Event()

    def work():
        begun.set()
        time.sleep(0.05)
        ended.set()

    async def main():
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(None, work)
        assert begun.wait(10)
        # As runners do from CPython 3.12 on; in virtual time these seconds are over before any thread is.
        await loop.shutdown_default_executor(300)
        assert ended.is_set()
        await working

    run_in_virtual_time(main())


def test_what_is_no_coroutine_function_is_refused():
    @given(st.integers())
    async def drawn(number): ...

    for wrong in (lambda: 42, 42, drawn):
        with pytest.raises(TypeError, match="hypothesis's @given, stands above @in_virtual_time"):
            in_virtual_time(wrong)


@settings(max_examples=3)
@given(st.integers(0, 3))
@in_virtual_time
async def test_hypothesis_draws_for_it(seconds):
    await asyncio.sleep(seconds)
    assert asyncio.get_running_loop().time() == seconds


def test_what_is_no_coroutine_is_not_run():
    with pytest.raises(TypeError, match=r"takes a coroutine, such as main\(\), not function"):
        run_in_virtual_time(lambda: 42)


async def test_another_loop_may_not_be_running():
    """Were the coroutine not closed, it would warn that it was never awaited."""

    @in_virtual_time
    async def inner(): ...

    with pytest.raises(RuntimeError, match="one runs in this thread already"):
        inner()
