"""The checklist's lines 114 to 123: what may happen while `after_connect` logs in.

`run_session` holds for each that there is one `Stopped` for each start, and that no task is left at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import faults
import pytest
from faults import LOCAL, NETWORK, REMOTE, TIMEOUT, clean, own_tasks, run_session

from rxnodes import (
    CloseTimeout,
    ConnectError,
    ConnectionLost,
    DecodeError,
    Dropped,
    GiveUp,
    Opened,
    Project,
    ProtocolError,
    RxNodesError,
)
from rxnodes.testing import Frame, Opcode, WebSocketServer, close_payload, in_turn, never_answer_close

SHORT = 0.3
AT_ONCE = {"enabled": True, "initial_delay": 0.001, "max_delay": 0.001}
LOGIN = "log me in"


@pytest.fixture(params=["ws", "wss"])
def secured(request, authority):
    """The options of a session, plain and over TLS."""
    return {} if request.param == "ws" else authority.session()


async def log_in(greeting):
    await greeting.send(LOGIN)
    await greeting.receive(lambda text: text == "welcome")


def then(*acts, accepts=True):
    """A server that waits for the login, and then does what each of these says."""

    async def script(peer):
        await peer.accept()
        if accepts:
            assert await peer.receive_message() == LOGIN
        for act in acts:
            await act(peer)

    return script


def frames(*parts):
    """Sends messages, and codes as Close frames, in one write."""
    made = [
        Frame(Opcode.CLOSE, close_payload(part, "why")) if isinstance(part, int) else Frame(Opcode.TEXT, part.encode())
        for part in parts
    ]
    data = b"".join(frame.encode() for frame in made)
    return lambda peer: peer.send_raw(data)


async def expect_close(peer):
    return await peer.expect_close()


async def answer_close(peer):
    close = await peer.expect_close()
    await peer.send_close(close.code)


async def reset(peer):
    peer.reset()


async def wait_closed(peer):
    await peer.wait_closed()


async def failed(script, hook=log_in, **options):
    """A session that never opens, because its login fails, and says why. Gives its error besides."""
    outcome = await run_session(script, after_connect=hook, opened=False, error=ConnectError, messages=[], **options)
    (event,) = outcome.errors
    assert event.phase == "connect"
    assert event.error is outcome.stopped.error
    assert outcome.watch.of(Opened) == []
    nothing_counted(outcome.stopped)
    return outcome, event.error


def nothing_counted(stopped):
    assert (stopped.messages_sent, stopped.bytes_sent, stopped.unsent) == (0, 0, 0)
    assert (stopped.messages_received, stopped.bytes_received, stopped.undelivered) == (0, 0, 0)


async def test_114_the_peer_closes(secured):
    outcome, error = await failed(then(frames("first", 4401), expect_close), **clean(REMOTE, 4401, "why"), **secured)
    assert (error.code, error.reason) == (4401, "why")
    assert outcome.journal.kinds == ["Connecting", "ErrorEvent", "Closing", "Stopped"]


async def test_114_a_code_that_is_not_final_is_retried():
    outcome = await run_session(
        in_turn(then(frames(4401), expect_close), then(frames("welcome", 1000), expect_close)),
        after_connect=log_in,
        reconnect=AT_ONCE,
        **clean(REMOTE, 1000, "why"),
    )
    (dropped,) = outcome.watch.of(Dropped)
    assert (dropped.code, dropped.was_clean) == (4401, True)


async def test_114_a_hook_that_gives_up_has_the_last_word():
    async def hook(greeting):
        if await greeting.receive() == "auth_invalid":
            raise GiveUp("the token was refused")

    script = then(frames("auth_invalid", 4401), expect_close, accepts=False)
    _, error = await failed(script, hook, reconnect=AT_ONCE, **clean(REMOTE, 4401, "why"))
    assert str(error) == "the token was refused"


@pytest.mark.parametrize("end", [reset, lambda peer: peer.close()], ids=["reset", "fin"])
async def test_115_the_connection_ends(end, secured):
    outcome, error = await failed(then(frames("first"), end), initiator=NETWORK, **secured)
    assert "the connection ended during the login: " in str(error)
    assert outcome.journal.kinds == ["Connecting", "ErrorEvent", "Stopped"]


async def test_115_a_login_that_waits_for_something_else_is_cancelled_at_once():
    cancelled = []

    async def hook(_greeting):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("hook")
            raise

    await failed(then(reset, accepts=False), hook, initiator=NETWORK, within=0.0)
    assert cancelled == ["hook"]


@pytest.mark.slow
@pytest.mark.parametrize("answers", [True, False])
async def test_116_the_peer_hangs(answers, secured):
    """One timeout is over all of the attempt; then it is closed in order, or the deadline ends it."""
    outcome, error = await failed(
        then(answer_close if answers else wait_closed),
        connect_timeout=SHORT,
        close_timeout=SHORT,
        **(clean(LOCAL) if answers else {"initiator": LOCAL}),
        **secured,
    )
    assert str(error) == f"after_connect was not done within connect_timeout ({SHORT} s)"
    assert outcome.took >= (SHORT if answers else 2 * SHORT) * 0.9


@pytest.mark.slow
async def test_116_an_answer_that_has_come_in_time_counts(secured):
    """Though the program was held up, and the hook had no turn before the timeout was over."""

    async def answer(peer):
        await frames("welcome")(peer)
        time.sleep(2 * SHORT)  # noqa: ASYNC251 - the loop is held up
        await answer_close(peer)

    await run_session(
        then(answer),
        act=faults.stop_when_open,
        after_connect=log_in,
        connect_timeout=SHORT,
        **clean(LOCAL),
        **secured,
    )


@pytest.mark.slow
async def test_117_the_peer_floods(secured):
    """Reading pauses, so that the flood waits with the peer; the closing that follows is bounded all the same."""
    held_up = asyncio.Event()

    async def flood(peer):
        while True:
            try:
                async with asyncio.timeout(SHORT):
                    await peer.send_text("x" * 50_000)
            except TimeoutError:
                held_up.set()
                return await wait_closed(peer)

    async def act(_connection, _watch):
        await held_up.wait()

    outcome, error = await failed(
        then(flood), act=act, connect_timeout=1.5, close_timeout=SHORT, initiator=LOCAL, may_complain=True, **secured
    )
    assert outcome.logged == [
        "rxnodes: it: reading had paused, since more than 64 KiB had come that after_connect did not take"
    ]
    assert "within connect_timeout" in str(error)


@pytest.mark.parametrize(
    ("data", "code"), [(b"\x83\x00", 1002), (Frame(Opcode.TEXT, b"\xff").encode(), 1007)], ids=["opcode", "utf-8"]
)
async def test_118_the_peer_breaks_the_protocol(data, code, secured):
    outcome = await run_session(
        then(frames("first"), lambda peer: peer.send_raw(data), expect_close),
        after_connect=log_in,
        initiator=LOCAL,
        opened=False,
        error=ProtocolError,
        **secured,
    )
    assert outcome.stopped.error.code == code
    assert [event.phase for event in outcome.errors] == ["receive"]
    nothing_counted(outcome.stopped)


async def test_118_the_peer_sends_nonsense():
    seen = []

    async def hook(greeting):
        try:
            await greeting.receive(codec="json")
        except DecodeError as error:
            seen.append(error)
            raise

    _, error = await failed(then(frames("no JSON"), answer_close, accepts=False), hook, **clean(LOCAL))
    assert str(error) == f"after_connect raised DecodeError: {seen[0]}"


def stop(connection, _project):
    connection.stop(code=4000, reason="enough")


def abort(connection, _project):
    connection.abort()


def leave(_connection, task):
    task.cancel()


@pytest.mark.parametrize("act", [stop, abort])
async def test_119_a_stop_or_an_abort(act, secured):
    during = asyncio.Event()
    cancelled = []

    async def hook(greeting):
        await greeting.send(LOGIN)
        during.set()
        try:
            await greeting.receive()
        finally:
            with pytest.raises(RxNodesError):
                await greeting.send("too late")
            cancelled.append("hook")

    async def command(connection, _watch):
        await during.wait()
        act(connection, None)

    is_clean = act is stop
    outcome = await run_session(
        then(answer_close if is_clean else wait_closed),
        act=command,
        after_connect=hook,
        initiator=LOCAL,
        code=4000 if is_clean else 1006,
        was_clean=is_clean,
        opened=False,
        reconnect=AT_ONCE,
        **secured,
    )
    assert cancelled == ["hook"]
    assert outcome.journal.kinds == ["Connecting", "Closing", "Stopped"]
    nothing_counted(outcome.stopped)


@pytest.mark.parametrize("how", ["left", "cancelled"])
async def test_119_the_project_is_left_or_its_task_is_cancelled(how):
    during = asyncio.Event()
    told = []

    async def hook(greeting):
        await greeting.send(LOGIN)
        during.set()
        await greeting.receive()

    async def program(url):
        async with Project(websocket={"it": {"url": url, "after_connect": hook, "close_timeout": SHORT}}) as project:
            it = project.websocket("it")
            it.lifecycle.subscribe(lambda event: told.append(type(event).__name__))
            it.start()
            await during.wait()
            if how == "cancelled":
                await asyncio.Event().wait()

    async with WebSocketServer(then(answer_close)) as server:
        task = asyncio.create_task(program(server.url))
        await during.wait()
        if how == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait([task])
    assert told == ["Connecting", "Closing", "Stopped"]
    assert own_tasks() == []


async def test_120_messages_in_the_read_of_the_answer(secured):
    outcome = await run_session(
        then(frames("early", "welcome", "one", "two"), expect_close),
        act=faults.stop_when_open,
        after_connect=log_in,
        initiator=LOCAL,
        error=ConnectionLost,
        messages=["early", "one", "two"],
        **secured,
    )
    assert outcome.journal.kinds[:2] == ["Connecting", "Opened"]
    stopped = outcome.stopped
    assert (stopped.messages_received, stopped.bytes_received, stopped.messages_sent) == (3, 11, 0)


async def test_120_what_is_sent_at_opened_and_what_waited_come_behind_the_login():
    heard = []

    async def listen(peer):
        heard.extend([await peer.receive_message() for _ in range(2)])
        await answer_close(peer)

    async def act(connection, watch):
        connection.send("waited")
        connection.lifecycle.subscribe(lambda event: connection.send("first") if isinstance(event, Opened) else None)
        await faults.stop_when_open(connection, watch)

    outcome = await run_session(
        then(frames("welcome"), listen),
        act=act,
        after_connect=log_in,
        send_queue={"while_connecting": True},
        **clean(LOCAL),
    )
    assert heard == ["first", "waited"]
    assert (outcome.stopped.messages_sent, outcome.stopped.bytes_sent) == (2, 11)


@pytest.mark.parametrize("retries", [True, False])
async def test_121_a_close_in_the_read_of_the_answer(retries, secured):
    outcome = await run_session(
        in_turn(then(frames("welcome", "one", 4401), expect_close), then(frames("welcome", 1000), expect_close)),
        after_connect=log_in,
        reconnect=AT_ONCE | {"enabled": retries},
        **clean(REMOTE, 1000 if retries else 4401, "why"),
        messages=["one"],
        **secured,
    )
    assert outcome.errors == []
    ends = ["Dropped", "Connecting", "Opened", "Closing", "Stopped"] if retries else ["Closing", "Stopped"]
    assert outcome.journal.kinds == ["Connecting", "Opened", *ends]
    assert outcome.stopped.messages_received == 1


async def test_121_an_end_in_the_read_of_the_answer(secured):
    outcome = await run_session(
        then(frames("welcome", "one"), lambda peer: peer.close()),
        after_connect=log_in,
        initiator=NETWORK,
        error=ConnectionLost,
        messages=["one"],
        **secured,
    )
    assert [event.phase for event in outcome.errors] == ["receive"]


class Stubborn:
    """A hook that goes on whatever happens, until it is let go."""

    def __init__(self):
        self.began = asyncio.Event()
        self.lets_go = asyncio.Event()
        self.task = None

    async def __call__(self, _greeting):
        self.task = asyncio.current_task()
        self.began.set()
        while not self.lets_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.lets_go.wait()


@pytest.mark.parametrize("how", ["stop", "abort", "leave", "too slow", "close", "reset"])
async def test_122_a_hook_that_swallows_its_cancellation_holds_up_nothing(how, caplog):
    """Only its task is left, which Python cannot end."""
    hook = Stubborn()
    ends = {"close": frames(4401), "reset": reset, "abort": wait_closed}
    settings = {
        "after_connect": hook,
        "connect_timeout": SHORT if how == "too slow" else 60,
        "close_timeout": SHORT,
    }
    loop = asyncio.get_running_loop()
    async with WebSocketServer(then(ends.get(how, answer_close), wait_closed, accepts=False)) as server:
        async with Project(websocket={"it": {"url": server.url, **settings}}) as project:
            it = project.websocket("it")
            told = []
            it.lifecycle.subscribe(lambda event: told.append(type(event).__name__))
            it.start()
            await hook.began.wait()
            began = loop.time()
            if how in ("stop", "abort"):
                getattr(it, how)()
            if how != "leave":
                await it.wait_stopped()
        assert loop.time() - began < 2 * SHORT + faults.ROOM
        assert own_tasks() == [hook.task]
        hook.lets_go.set()
        await hook.task
    assert told.count("Stopped") == 1
    assert told[-1] == "Stopped"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"][-1:] == [
        "it: after_connect goes on although it was cancelled: its task is left behind, its answer will be ignored"
    ]


async def test_123_each_attempt_logs_in_again():
    attempts = []

    async def hook(greeting):
        attempts.append(greeting.attempt)
        await log_in(greeting)

    outcome = await run_session(
        in_turn(
            then(frames("welcome", "one"), reset),
            then(reset),
            then(frames("no"), answer_close),
            then(frames("welcome", "two", 1000), expect_close),
        ),
        after_connect=hook,
        connect_timeout=SHORT,
        reconnect=AT_ONCE,
        within=5.0,
        **clean(REMOTE, 1000, "why"),
        messages=["one", "two"],
    )
    assert [one.attempt for one in attempts] == [1, 2, 3, 4]
    assert [type(one.error) for one in attempts] == [type(None), ConnectionLost, ConnectError, ConnectError]
    assert [event.is_reconnect for event in outcome.watch.of(Opened)] == [False, True]


async def test_123_a_stop_behind_a_failed_login_whose_close_is_not_answered():
    async def hook(_greeting):
        raise ConnectError("no token")

    async def act(connection, _watch):
        connection.errors.subscribe(lambda _: connection.stop())

    _, error = await failed(
        never_answer_close,
        hook,
        act=act,
        reconnect=AT_ONCE,
        close_timeout=SHORT,
        initiator=LOCAL,
        script_ends=False,
    )
    assert str(error) == "no token"


async def test_123_the_peer_does_not_answer_a_stop_during_the_login():
    during = asyncio.Event()

    async def hook(greeting):
        during.set()
        await greeting.receive()

    async def act(connection, _watch):
        await during.wait()
        connection.stop()

    outcome = await run_session(
        never_answer_close,
        act=act,
        after_connect=hook,
        close_timeout=SHORT,
        initiator=TIMEOUT,
        opened=False,
        error=CloseTimeout,
        script_ends=False,
    )
    assert [event.phase for event in outcome.errors] == ["close"]
