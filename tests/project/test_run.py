"""run: SIGINT and SIGTERM end a program in order (design section 4, promise 10; checklist 96)."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading

import pytest

from rxnodes import Project
from rxnodes.project.run import run
from rxnodes.testing import WebSocketServer, echo, never_answer_close
from rxnodes.websocket import on_stop

SIGNALS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}


@pytest.fixture(autouse=True)
def _ordinary_handlers():
    """Whatever started the tests, an ignored SIGINT of its own would be inherited by them and by their children."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# As asyncio.run


def test_gives_what_the_coroutine_returns():
    async def main():
        await asyncio.sleep(0)
        return 42

    assert run(main()) == 42


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(7), asyncio.CancelledError("mine")])
def test_raises_what_the_coroutine_raises(error):
    async def main():
        raise error

    with pytest.raises(type(error), check=lambda raised: raised.args == error.args):
        run(main())


@pytest.mark.parametrize("debug", [True, False])
def test_switches_the_debug_mode(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=debug) is debug


def test_is_asyncio_run_in_another_thread():
    handlers = []
    results = []

    async def main():
        handlers.append(signal.getsignal(signal.SIGTERM))
        return 42

    thread = threading.Thread(target=lambda: results.append(run(main())))
    thread.start()
    thread.join()
    assert results == [42]
    assert handlers == [signal.SIG_DFL]


# The first signal


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize(("number", "error"), SIGNALS.items())
def test_a_signal_cancels_and_is_told_when_all_has_ended_even_if_the_coroutine_returns(number, error, returns):
    told = []

    async def main():
        signal.raise_signal(number)
        with contextlib.suppress(asyncio.CancelledError) if returns else contextlib.nullcontext():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                told.append("cleaned up")
        return "all the same"

    with pytest.raises(error) as raised:
        run(main())
    assert told == ["cleaned up"]
    if error is SystemExit:
        assert raised.value.code == 143


def test_an_error_while_cleaning_up_is_not_hidden():
    async def main():
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.get_running_loop().create_future()
        finally:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(main())


def test_a_signal_before_the_coroutine_begins_is_not_lost(monkeypatch):
    def late():
        signal.raise_signal(signal.SIGINT)
        return asyncio.new_event_loop()

    async def main():
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("rxnodes.project.run.new_event_loop", late)
    with pytest.raises(KeyboardInterrupt):
        run(main())


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_project_in_order(number):
    seen = []

    async def main():
        async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
            chat = project.websocket("chat")
            chat.lifecycle.subscribe(lambda event: seen.append(type(event).__name__))
            chat.start()
            await chat.wait_started()
            signal.raise_signal(number)
            try:
                await chat.wait_stopped()
            finally:
                seen.append(chat.state.value)

    with pytest.raises(SIGNALS[number]):
        run(main())
    assert seen == ["Connecting", "Opened", "open", "Closing", "Stopped"]


# More signals


@pytest.mark.parametrize("between", ["at once", "while closing"])
def test_a_second_signal_aborts(between):
    stops = []

    async def main():
        async with WebSocketServer(never_answer_close) as server:
            configuration = {"url": server.url, "close_timeout": 60}
            async with asyncio.timeout(10), Project(websocket={"chat": configuration}) as project:
                chat = project.websocket("chat")
                on_stop(chat).subscribe(stops.append)
                chat.start()
                await chat.wait_started()
                loop = asyncio.get_running_loop()
                if between == "at once":
                    signal.raise_signal(signal.SIGINT)
                else:
                    chat.states.subscribe(
                        lambda state: (
                            loop.call_soon(signal.raise_signal, signal.SIGTERM) if state == "closing" else None
                        )
                    )
                signal.raise_signal(signal.SIGINT)
                # A task within the task: the first cancellation takes a few turns of the loop to get through.
                await loop.create_task(chat.wait_stopped())

    with pytest.raises(KeyboardInterrupt):
        run(main())
    (stopped,) = stops
    assert stopped.code == 1006
    assert not stopped.was_clean
    assert stopped.duration < 10


def test_a_second_signal_aborts_every_project_that_is_open():
    """Also one in a thread of its own, which no cancellation reaches."""
    stops = {}

    def hold_in_a_thread(url, is_open):
        with Project(websocket={"plain": {"url": url, "close_timeout": 60}}) as project:
            plain = project.websocket("plain")
            plain.states.subscribe(lambda state: is_open.set() if state == "open" else None)
            on_stop(plain).subscribe(lambda stopped: stops.update(plain=stopped))
            plain.start()
            project.call(plain.wait_started)
            project.call(plain.wait_stopped)

    async def hold(name, url, opened):
        async with Project(websocket={name: {"url": url, "close_timeout": 60}}) as project:
            chat = project.websocket(name)
            on_stop(chat).subscribe(lambda stopped: stops.update({name: stopped}))
            chat.start()
            await chat.wait_started()
            opened.set()
            await asyncio.Event().wait()

    async def main():
        async with WebSocketServer(never_answer_close) as server, asyncio.TaskGroup() as tasks:
            is_open = threading.Event()
            for name in ("one", "two"):
                opened = asyncio.Event()
                tasks.create_task(hold(name, server.url, opened))
                await opened.wait()
            thread = asyncio.to_thread(hold_in_a_thread, server.url, is_open)
            tasks.create_task(thread)
            assert await asyncio.to_thread(is_open.wait, 10)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert {name: stopped.code for name, stopped in stops.items()} == {"one": 1006, "two": 1006, "plain": 1006}


def test_a_second_signal_cancels_what_else_is_waited_for():
    reached = []

    async def main():
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert reached == ["the end"]


def test_a_third_signal_interrupts_a_program_that_is_stuck():
    reached = []

    async def main():
        for turn in range(1, 4):
            reached.append(turn)
            signal.raise_signal(signal.SIGINT)
        reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert reached == [1, 2, 3]


# The handlers


def test_handlers_are_put_back():
    def mine(*_):
        raise AssertionError

    signal.signal(signal.SIGTERM, mine)

    async def main():
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    during = run(main())
    assert signal.default_int_handler not in during
    assert mine not in during
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is mine


def test_a_handler_that_the_program_sets_stays():
    def mine(*_):
        raise AssertionError

    async def main():
        signal.signal(signal.SIGTERM, mine)

    run(main())
    assert signal.getsignal(signal.SIGTERM) is mine


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def main():
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return signal.getsignal(signal.SIGINT)

    assert run(main()) is signal.SIG_IGN


def test_a_signal_wakes_a_loop_that_waits():
    async def main():
        async with asyncio.timeout(5):
            # From a thread that does nothing for the loop, so that nothing else wakes it.
            threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), signal.SIGINT)).start()
            await asyncio.get_running_loop().create_future()

    with pytest.raises(KeyboardInterrupt):
        run(main())


# A program of its own

PROGRAM = """
import asyncio
from rxnodes import Project
from rxnodes.project.run import run
from rxnodes.testing import WebSocketServer, echo, never_answer_close

async def main():
    async with WebSocketServer({script}) as server:
        configuration = {{"url": server.url, "close_timeout": 60}}
        async with Project(websocket={{"chat": configuration}}) as project:
            chat = project.websocket("chat")
            chat.lifecycle.subscribe(lambda event: print(type(event).__name__, flush=True))
            chat.start()
            await chat.wait_stopped()

try:
    run(main())
finally:
    print("the end", flush=True)
"""


@contextlib.contextmanager
def program(script):
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM.format(script=script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        watchdog = threading.Timer(20, child.kill)
        watchdog.start()
        try:
            yield child
        finally:
            child.kill()
            watchdog.cancel()


# How Python ends after a KeyboardInterrupt that nobody catches, and after SystemExit(143).
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_program_ends_in_order(number, status):
    with program("echo") as child:
        assert [next(child.stdout) for _ in range(2)] == ["Connecting\n", "Opened\n"]
        child.send_signal(number)
        assert child.stdout.read() == "Closing\nStopped\nthe end\n"
        assert child.wait() == status


@pytest.mark.slow
def test_a_program_is_aborted():
    with program("never_answer_close") as child:
        assert [next(child.stdout) for _ in range(2)] == ["Connecting\n", "Opened\n"]
        child.send_signal(signal.SIGTERM)
        assert next(child.stdout) == "Closing\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "Stopped\nthe end\n"
        assert child.wait() == 143


def test_a_function_is_no_coroutine():
    async def main():
        """Not called."""

    with pytest.raises(TypeError, match=r"run takes a coroutine, such as main\(\), not function"):
        run(main)
