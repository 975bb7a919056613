"""The checklist's lines 81 to 100: what subscribers see, and what they can do to one another and to the connection."""

from __future__ import annotations

import asyncio
import threading
import time

import faults
import pytest
from faults import LOCAL, NETWORK, REMOTE, TIMEOUT, clean, run_session, stop_when_open, watched_sockets
from reactivex import operators as ops

from rxnodes import (
    Closing,
    ConnectError,
    Connecting,
    ConnectionState,
    Dropped,
    HandlerError,
    Opened,
    Project,
    Stopped,
    for_each_async,
)
from rxnodes.testing import (
    Frame,
    Opcode,
    WebSocketServer,
    close_with,
    echo,
    hang_up,
    in_turn,
    never_answer_close,
    never_answer_handshake,
    refuse,
    refusing_port,
)
from rxnodes.websocket import (
    all_stopped,
    client_start,
    client_stop,
    on_receive,
    on_start,
    on_stop,
)

SHORT = 0.3
AT_ONCE = {"enabled": True, "initial_delay": 0.001, "max_delay": 0.001}
LATER = {"enabled": True, "initial_delay": 60, "max_delay": 60, "jitter": False}


async def until(connection, kind, count=1):
    """Waits until so many more events of a kind have been delivered."""
    seen = asyncio.get_running_loop().create_future()
    found = []

    def look(event):
        if isinstance(event, kind):
            found.append(event)
            if len(found) == count and not seen.done():
                seen.set_result(event)

    subscription = connection.lifecycle.subscribe(look)
    try:
        return await seen
    finally:
        subscription.dispose()


# 81 to 83


async def test_81_open_before_messages_before_stopped():
    outcome = await run_session(close_with(1000, "", *map(str, range(50))), **clean(REMOTE))
    kinds = [what if isinstance(what, str) and what.isdecimal() else type(what).__name__ for what in outcome.watch.told]
    first, last = kinds.index("0"), kinds.index("49")
    assert kinds.index("Opened") < first < last < kinds.index("Closing") < kinds.index("Stopped")
    assert kinds[first : last + 1] == list(map(str, range(50)))


async def test_83_a_late_subscriber_to_states_gets_the_current_one():
    async with WebSocketServer(echo) as server, Project(websocket={"it": server.url}) as project:
        connection = project.websocket("it")

        def first():
            seen = []
            connection.states.subscribe(seen.append).dispose()
            return seen

        assert first() == [ConnectionState.IDLE]
        connection.start()
        assert first() == [ConnectionState.CONNECTING]
        await connection.wait_started()
        assert first() == [ConnectionState.OPEN]
        connection.stop()
        assert first() == [ConnectionState.CLOSING]
        await connection.wait_stopped()
        assert first() == [ConnectionState.CLOSED]
    ended = []
    connection.states.subscribe(on_completed=lambda: ended.append(1))
    assert ended == [1]


# 84 to 86


class StrangeError(BaseException):
    pass


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


RAISED = [
    UnspeakableError(),
    ValueError("mine"),
    StrangeError(),
    asyncio.CancelledError(),
    GeneratorExit(),
    StopIteration(),
    AssertionError(),
]


@pytest.mark.slow(but_every=7)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_84_and_86_a_subscriber_that_raises_in_everything(error):
    """It keeps nothing from the others, nor from itself."""
    calls = []

    def raises(what):
        calls.append(what)
        raise error

    async def act(connection, _watch):
        for stream in (
            connection.states,
            connection.lifecycle,
            connection.messages,
            connection.errors,
            on_start(connection),
            on_stop(connection),
            on_receive(connection),
            on_receive(connection, is_binary=True),
        ):
            stream.subscribe(raises)
        await connection.wait_started()
        connection.send("a")
        connection.send("b")
        connection.stop()

    # To log so many tracebacks takes a while.
    outcome = await run_session(echo, act=act, **clean(LOCAL), messages=["a", "b"], may_complain=True, close_timeout=10)
    assert [call for call in calls if isinstance(call, str) and call in "ab"] == ["a", "a", "b", "b"]
    assert calls.count(b"a") == calls.count(b"b") == 1
    assert sum(isinstance(call, Stopped) for call in calls) == 2
    assert all(event.phase == "handler" for event in outcome.errors)
    assert all(isinstance(event.error, HandlerError) and event.error.__cause__ is error for event in outcome.errors)
    # One report for each time that it raised, except while an ErrorEvent or Stopped was delivered.
    assert len(outcome.errors) > 10
    assert len(outcome.logged) > len(outcome.errors)


async def test_84_the_log_holds_the_traceback_and_the_event_the_text(caplog):
    async def act(connection, watch):
        on_start(connection).subscribe(lambda _: {}[1])
        await stop_when_open(connection, watch)

    outcome = await run_session(echo, act=act, **clean(LOCAL), may_complain=True)
    (event,) = outcome.errors
    assert isinstance(event.error, HandlerError)
    assert "KeyError" in event.message
    (record,) = [record for record in caplog.records if record.name == "rxnodes"]
    assert record.exc_info[0] is KeyError
    assert record.exc_info[1].__traceback__ is not None


async def test_85_pipelines_without_on_error_and_with_one_that_raises():
    def fail(_):
        raise ValueError("in an operator")

    def fail_again(_):
        raise KeyError("in on_error")

    async def act(connection, _watch):
        on_receive(connection).pipe(ops.map(fail)).subscribe()
        on_receive(connection).pipe(ops.map(fail)).subscribe(on_error=fail_again)
        on_stop(connection).pipe(ops.map(fail)).subscribe(on_error=fail_again)
        connection.states.pipe(ops.skip(1), ops.map(fail)).subscribe(on_error=fail_again)
        await connection.wait_started()
        connection.send("a")
        connection.send("b")
        connection.stop()

    outcome = await run_session(echo, act=act, **clean(LOCAL), messages=["a", "b"], may_complain=True)
    assert all(event.phase == "handler" for event in outcome.errors)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["messages", "opened", "stopped", "states"])
def test_86_what_is_meant_for_the_program_reaches_it_and_wedges_nothing(kind, where):
    seen = []

    async def main():
        async with WebSocketServer(echo) as server, Project(websocket={"it": server.url}) as project:
            connection = project.websocket("it")
            seen.append(faults.Watch(connection))

            def raises(what):
                if where != "states" or what is ConnectionState.OPEN:
                    raise kind

            streams = {
                "messages": connection.messages,
                "opened": on_start(connection),
                "stopped": on_stop(connection),
                "states": connection.states,
            }
            streams[where].subscribe(raises)
            on_start(connection).subscribe(lambda _: connection.send("hello"))
            connection.messages.subscribe(lambda _: connection.stop())
            connection.start()
            await connection.wait_stopped()

    with pytest.raises(kind):
        asyncio.run(main())
    (watch,) = seen
    watch.check()
    assert len(watch.stopped) == 1


# 87 to 93


@pytest.mark.parametrize("through", ["lifecycle", "stopped", "states"])
async def test_87_a_start_inside_on_stop(through):
    """The old Stopped is not repeated, and everybody sees it before the next Connecting."""

    async def act(connection, _watch):
        def again(what):
            is_end = isinstance(what, Stopped) or what is ConnectionState.CLOSED
            if is_end and connection.session < 2:
                connection.start()

        streams = {"lifecycle": connection.lifecycle, "stopped": on_stop(connection), "states": connection.states}
        streams[through].subscribe(again)

    outcome = await run_session(close_with(1000), act=act, **clean(REMOTE), starts=2)
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"] * 2


async def test_87_a_stop_after_that_start_cancels_it():
    async def act(connection, _watch):
        def again_and_not(_):
            connection.start()
            connection.stop()

        on_stop(connection).subscribe(again_and_not)

    await run_session(close_with(1000), act=act, **clean(REMOTE))


async def test_87_a_start_while_closing_begins_a_new_session_afterwards():
    async def act(connection, _watch):
        await connection.wait_started()
        connection.stop(code=3001)
        connection.start()
        assert connection.state is ConnectionState.CLOSING
        assert connection.session == 1
        on_start(connection).subscribe(lambda _: connection.stop(code=3002))

    outcome = await run_session(echo, act=act, **clean(LOCAL, 3002), starts=2)
    assert [stopped.code for stopped in outcome.watch.stopped] == [3001, 3002]


async def test_88_a_stop_inside_on_receive():
    """The rest of that batch still arrives, before Stopped."""
    texts = list(map(str, range(100)))

    async def batch(peer):
        await peer.accept(then=b"".join(Frame(Opcode.TEXT, text.encode()).encode() for text in texts))
        await peer.send_close((await peer.expect_close()).code)

    async def act(connection, _watch):
        on_receive(connection).pipe(ops.take(1), client_stop(connection)).subscribe()

    outcome = await run_session(batch, act=act, **clean(LOCAL), messages=texts)
    told = outcome.watch.told
    assert max(told.index(text) for text in texts) < told.index(outcome.stopped)


async def test_89_dispose_inside_on_next():
    seen = []

    async def act(connection, _watch):
        subscriptions = {}

        def subscribe(name, also=()):
            def on_next(text):
                seen.append((name, text))
                for other in also:
                    subscriptions[other].dispose()

            subscriptions[name] = connection.messages.subscribe(on_next)

        subscribe("itself", ["itself"])
        subscribe("killer", ["victim"])
        subscribe("victim")
        subscribe("bystander")
        connection.messages.subscribe(lambda text: connection.stop() if text == "b" else None)

    async def script(peer):
        await peer.accept()
        await peer.send_text("a")
        await peer.send_text("b")
        await peer.send_close((await peer.expect_close()).code)

    await run_session(script, act=act, **clean(LOCAL), messages=["a", "b"])
    assert seen == [("itself", "a"), ("killer", "a"), ("bystander", "a"), ("killer", "b"), ("bystander", "b")]


async def test_90_subscribe_inside_on_next():
    seen = []

    async def act(connection, _watch):
        def subscribe_another(_):
            connection.messages.subscribe(seen.append)

        connection.messages.pipe(ops.take(1)).subscribe(subscribe_another)
        on_start(connection).subscribe(lambda _: connection.states.subscribe(lambda state: seen.append(state.value)))

    await run_session(close_with(1000, "", "a", "b", "c"), act=act, **clean(REMOTE))
    assert seen == ["open", "b", "c", "closing", "closed"]


async def test_91_many_subscribers_one_socket():
    async with WebSocketServer(echo) as server:

        async def act(connection, _watch):
            await connection.wait_started()
            subscriptions = [stream.subscribe() for stream in (on_receive(connection), on_stop(connection)) * 50]
            for subscription in subscriptions:
                subscription.dispose()
                subscription.dispose()
            assert connection.state is ConnectionState.OPEN
            connection.messages.subscribe(lambda _: connection.stop())
            connection.send("still here")

        await run_session(server.url, act=act, **clean(LOCAL), messages=["still here"])
        assert server.connections == 1


async def test_92_what_cannot_be_decoded_is_an_error_event_and_the_stream_goes_on():
    texts = []

    async def script(peer):
        frames = [
            Frame(Opcode.BINARY, b"\xff\xfe"),
            Frame(Opcode.BINARY, "grün".encode()),
            Frame(Opcode.TEXT, b"text"),
        ]
        await peer.accept()
        await peer.send_raw(b"".join(frame.encode() for frame in frames))
        await peer.send_close(1000)

    async def act(connection, _watch):
        on_receive(connection).subscribe(texts.append)

    outcome = await run_session(script, act=act, **clean(REMOTE))
    assert texts == ["grün", "text"]
    (event,) = outcome.errors
    assert (event.phase, event.session) == ("receive", 1)
    told = outcome.watch.told
    assert told.index(b"\xff\xfe") < told.index(event) < told.index("text"), "it is told in its turn"


@pytest.mark.slow
async def test_93_a_consumer_that_awaits_holds_up_the_peer():
    count, size, heartbeat = 400, 64 * 1024, 0.1
    sent, seen, held_at, pauses = [], [], [], []

    async def talk(peer):
        await peer.accept()
        for number in range(count):
            await peer.send_text(f"{number:<{size}}")
            sent.append(number)
        await peer.send_close()
        await peer.expect_close()

    async def act(connection, _watch):
        async def save(message):
            if not seen:
                await faults.held_up(connection, lambda: len(sent))
                # Longer than a peer is kept of which nothing is heard.
                await asyncio.sleep(2 * heartbeat)
                held_at.append(len(sent))
            seen.append(int(message))

        await on_receive(connection).pipe(ops.take_until(on_stop(connection)), for_each_async(save, buffer=4))

    async def no_consumer_that_awaits(connection, _watch):
        connection.messages.subscribe(lambda _: pauses.append(connection._driver.pause_control.is_paused))
        await connection.wait_started()

    outcome = await run_session(talk, act=act, heartbeat=heartbeat, **clean(REMOTE))
    assert seen == list(range(count))
    assert held_at[0] < count
    assert outcome.stopped.messages_received == count
    await run_session(talk, act=no_consumer_that_awaits, **clean(REMOTE))
    assert pauses == [False] * count, "it is the consumer that holds it up"


# 94 to 96


async def test_94_commands_from_many_threads_are_serialized():
    async with WebSocketServer(echo) as server:
        settings = {"url": server.url, "close_timeout": 5}
        with watched_sockets() as sockets, faults.complaints() as logged:
            async with Project(websocket={"it": settings}) as project, asyncio.timeout(30):
                connection = project.websocket("it")
                watch = faults.Watch(connection, sockets)
                gate = threading.Barrier(8)

                def hammer(seed):
                    gate.wait()
                    for turn in range(60):
                        command = (seed * 7 + turn * 3) % 5
                        (connection.start, connection.stop, connection.start, connection.abort, send)[command]()

                def send():
                    connection.send("x")

                threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
                for thread in threads:
                    thread.start()
                await asyncio.to_thread(lambda: [thread.join() for thread in threads])
                connection.stop()
                connection.start()
                connection.stop()
                if connection.session:
                    await connection.wait_stopped()
                assert not connection.is_live
            watch.check()
        assert logged.found == []
    assert len(watch.of(Stopped)) == connection.session >= 1
    assert all(error.phase == "send" for error in watch.errors)


@pytest.mark.parametrize("moment", ["connecting", "open", "closing", "waiting to retry", "dropping"])
async def test_95_the_project_is_left(moment):
    script = {
        "connecting": never_answer_handshake,
        "open": echo,
        "closing": never_answer_close,
        "waiting to retry": hang_up,
        "dropping": close_with(1001),
    }[moment]
    completed = []
    async with WebSocketServer(script) as server:
        settings = {"url": server.url, "close_timeout": SHORT, "reconnect": {"enabled": False}}
        if moment in ("waiting to retry", "dropping"):
            settings["reconnect"] = LATER
        with watched_sockets() as sockets, faults.complaints() as logged:
            async with asyncio.timeout(SHORT + 2 * faults.ROOM), Project(websocket={"it": settings}) as project:
                connection = project.websocket("it")
                watch = faults.Watch(connection, sockets)
                connection.lifecycle.subscribe(on_completed=lambda: completed.append("lifecycle"))
                on_stop(connection).pipe(client_start(connection)).subscribe(
                    on_completed=lambda: completed.append("on_stop")
                )
                connection.start()
                if moment == "waiting to retry":
                    await until(connection, Dropped)
                elif moment == "dropping":
                    await connection.states.pipe(ops.first(lambda state: state is ConnectionState.RECONNECTING))
                elif moment != "connecting":
                    await connection.wait_started()
                if moment == "closing":
                    connection.stop()
            assert completed == ["lifecycle", "on_stop"]
            assert faults.own_tasks() == faults.own_timers() == []
        watch.check()
        assert logged.found == []
    (stopped,) = watch.stopped
    expected = {"closing": TIMEOUT, "dropping": REMOTE}.get(moment, LOCAL)
    assert stopped.initiator in ({REMOTE, LOCAL} if moment == "dropping" else {expected})
    connection.start()
    assert connection.state is ConnectionState.CLOSED


@pytest.mark.parametrize("script", [echo, never_answer_handshake, never_answer_close])
def test_96_the_loop_is_shut_down(script):
    """`asyncio.run` cancels every task that is left, those of dials as well."""
    watches = []

    async def hold(url, ready):
        async with Project(websocket={"it": {"url": url, "close_timeout": SHORT, "reconnect": AT_ONCE}}) as project:
            connection = project.websocket("it")
            watches.append(faults.Watch(connection))
            connection.start()
            if script is not never_answer_handshake:
                await connection.wait_started()
            ready.set()
            await asyncio.get_running_loop().create_future()

    async def serve(ready):
        async with WebSocketServer(script) as server:
            ready.set_result(server.url)
            await asyncio.get_running_loop().create_future()

    async def main():
        url = asyncio.get_running_loop().create_future()
        ready = asyncio.Event()
        tasks.append(asyncio.create_task(serve(url)))
        tasks.append(asyncio.create_task(hold(await url, ready)))
        await ready.wait()

    tasks = []
    asyncio.run(main())
    (watch,) = watches
    watch.check()
    assert len(watch.stopped) == 1
    assert all(task.done() for task in tasks)


# 97 to 100


async def test_97_each_attempt_has_its_number():
    script = in_turn(refuse(503), hang_up, refuse(500), close_with(1001, "restarting"), close_with(1000, "enough"))
    outcome = await run_session(script, **clean(REMOTE, 1000, "enough"), reconnect=AT_ONCE)
    assert [event.attempt for event in outcome.watch.of(Connecting)] == [1, 2, 3, 4, 5]
    assert [event.attempt for event in outcome.watch.of(Dropped)] == [1, 2, 3, 4]
    assert [event.code for event in outcome.watch.of(Dropped)] == [1006, 1006, 1006, 1001]
    assert [event.is_reconnect for event in outcome.watch.of(Opened)] == [False, True, True]
    assert outcome.stopped.attempts == 5
    assert [event.initiator for event in outcome.watch.of(Closing)] == [REMOTE]
    assert [(event.attempt, event.phase) for event in outcome.errors] == [
        (1, "connect"),
        (2, "receive"),
        (3, "connect"),
    ]


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010])
async def test_97_codes_after_which_trying_again_cannot_help(code):
    outcome = await run_session(close_with(code), **clean(REMOTE, code), reconnect=AT_ONCE)
    assert outcome.stopped.attempts == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_97_statuses_after_which_trying_again_cannot_help(status):
    outcome = await run_session(refuse(status), initiator=NETWORK, opened=False, error=ConnectError, reconnect=AT_ONCE)
    assert outcome.stopped.attempts == 1


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        (in_turn(refuse(401), refuse(404), close_with(1000)), {"final_statuses": []}),
        (in_turn(close_with(4399), close_with(1000), close_with(4450)), {"final_codes": ["4400-4499"]}),
        (in_turn(refuse(503, {"Retry-After": "0"}), refuse(404), refuse(429)), {"final_statuses": [429]}),
    ],
    ids=["statuses", "codes", "another status"],
)
async def test_97_the_settings_can_say_what_is_final(script, settings):
    async with WebSocketServer(script) as server:
        async with Project(websocket={"it": {"url": server.url, "reconnect": AT_ONCE | settings}}) as project:
            project.websocket("it").start()
            async with asyncio.timeout(5):
                stopped = await project.websocket("it").wait_stopped()
    assert stopped.attempts == 3


@pytest.mark.slow
async def test_97_retry_after_is_the_least_delay():
    outcome = await run_session(
        in_turn(refuse(503, {"Retry-After": "1"}), close_with(1000)),
        **clean(REMOTE),
        reconnect=AT_ONCE,
    )
    (dropped,) = outcome.watch.of(Dropped)
    assert dropped.retry_in == 1.0
    assert outcome.took >= 1.0


@pytest.mark.parametrize(("retried", "attempts"), [(False, 1), (True, 3)])
async def test_97_a_certificate_that_fails_is_not_tried_again_unless_that_is_wanted(
    authority, tmp_path, retried, attempts
):
    outcome = await run_session(
        echo,
        initiator=NETWORK,
        opened=False,
        error=ConnectError,
        reconnect=AT_ONCE | {"retry_certificates": retried, "max_attempts": 3},
        tls_server=faults.Authority(tmp_path).server(),
        tls={"ca_file": authority.file},
    )
    assert outcome.stopped.attempts == attempts


@pytest.mark.parametrize("command", ["stop", "abort"])
async def test_98_stop_cancels_the_waiting_retry(command):
    async def act(connection, _watch):
        await until(connection, Dropped)
        assert connection.state is ConnectionState.RECONNECTING
        getattr(connection, command)()
        assert connection.state is ConnectionState.CLOSING

    outcome = await run_session(hang_up, act=act, initiator=LOCAL, reconnect=LATER, within=3)
    assert outcome.journal.kinds == ["Connecting", "Opened", "ErrorEvent", "Dropped", "Closing", "Stopped"]
    assert outcome.stopped.attempts == 1


async def test_98_stop_from_within_dropped():
    async def act(connection, _watch):
        connection.lifecycle.subscribe(lambda event: connection.stop() if isinstance(event, Dropped) else None)

    outcome = await run_session(hang_up, act=act, initiator=LOCAL, reconnect=AT_ONCE)
    assert outcome.stopped.attempts == 1


async def test_98_stop_while_a_dropped_attempt_still_ends():
    async def act(connection, _watch):
        await connection.states.pipe(ops.first(lambda state: state is ConnectionState.RECONNECTING))
        connection.stop()

    async def lingers(peer):
        await peer.accept()
        await peer.send_close(1001, "back soon")
        await peer.wait_closed()

    outcome = await run_session(
        lingers, act=act, **clean(REMOTE, 1001, "back soon"), reconnect=AT_ONCE, close_timeout=SHORT
    )
    assert outcome.stopped.attempts == 1


async def test_99_given_up_is_a_stopped_with_the_last_error():
    with refusing_port() as port:
        outcome = await run_session(
            f"ws://127.0.0.1:{port}/",
            initiator=NETWORK,
            opened=False,
            error=ConnectError,
            reconnect=AT_ONCE | {"max_attempts": 3},
        )
    assert outcome.stopped.attempts == 3
    assert len(outcome.errors) == 3
    assert outcome.stopped.error is outcome.errors[-1].error
    assert [event.attempt for event in outcome.watch.of(Dropped)] == [1, 2]


@pytest.mark.slow
async def test_100_the_loop_is_blocked_by_a_subscriber():
    texts = list(map(str, range(300)))

    async def script(peer):
        await peer.accept()
        for text in texts:
            await peer.send_text(text)
        await peer.send_close(1000, "done")

    async def act(connection, _watch):
        on_receive(connection).pipe(ops.take(1)).subscribe(
            lambda _: time.sleep(1)  # longer than every timeout below
        )

    outcome = await run_session(
        script,
        act=act,
        **clean(REMOTE, 1000, "done"),
        messages=texts,
        heartbeat=SHORT,
        connect_timeout=SHORT,
        close_timeout=SHORT,
        within=3,
    )
    assert outcome.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("when", ["opened", "closing"])
async def test_100_blocked_while_the_peer_answers_our_close(when):
    """The answer is there in time, though the loop sees it late: it counts, and nothing fires twice."""

    async def act(connection, _watch):
        def block(event):
            if isinstance(event, Opened) and when == "opened":
                connection.stop()
                time.sleep(2 * SHORT)
            if isinstance(event, Closing) and when == "closing":
                time.sleep(2 * SHORT)

        connection.lifecycle.subscribe(block)
        await connection.wait_started()
        connection.stop()

    def served():
        async def serve():
            async with WebSocketServer(echo) as server:
                url.append(server.url)
                ready.set()
                await asyncio.to_thread(done.wait)

        asyncio.run(serve())

    url, ready, done = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=served)
    thread.start()
    await asyncio.to_thread(ready.wait)
    try:
        outcome = await run_session(url[0], act=act, **clean(LOCAL), close_timeout=SHORT, within=3)
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    assert outcome.errors == []


# What the ten promises say besides


async def test_commands_are_idempotent():
    """Promise 8."""
    async with WebSocketServer(echo) as server, Project(websocket={"it": server.url}) as project:
        connection = project.websocket("it")
        watch = faults.Watch(connection)
        connection.stop()
        connection.start()
        connection.start()
        await connection.wait_started()
        connection.start()
        for _ in range(3):
            connection.stop()
        connection.start()
        assert (await connection.wait_stopped()).session == 1
        await connection.wait_started()
        connection.stop()
        connection.start()
        connection.stop()
        assert (await connection.wait_stopped()).session == 2
        connection.stop()
    watch.check()
    assert watch.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"] * 2
    assert server.connections == 2


async def test_every_subscriber_sees_the_same_order():
    """Promise 6, with one in the middle that starts, sends and stops."""
    views = [[], [], []]

    async with WebSocketServer(echo) as server, Project(websocket={"it": server.url}) as project:
        connection = project.websocket("it")

        def view(index):
            connection.states.subscribe(views[index].append)
            connection.lifecycle.subscribe(lambda event: views[index].append(type(event).__name__))
            connection.messages.subscribe(views[index].append)

        def meddle(event):
            if isinstance(event, Opened):
                connection.send("one")
                connection.start()
                connection.send("two")
            elif isinstance(event, Closing):
                connection.send("not any more")
                connection.start()
            elif isinstance(event, Stopped) and connection.session == 2:
                connection.stop()

        view(0)
        connection.lifecycle.subscribe(meddle)
        connection.messages.subscribe(lambda text: connection.stop() if text == "two" else None)
        view(1)
        watch = faults.Watch(connection)
        view(2)
        connection.start()
        while connection.session < 2:
            await connection.wait_stopped()
        async with asyncio.timeout(5):
            await connection.wait_stopped()
            connection.abort()
    watch.check()
    assert views[0] == views[1] == views[2]


@pytest.mark.slow
async def test_150_connections_at_once_in_one_project():
    async with WebSocketServer(echo) as server:
        names = [f"c{number}" for number in range(150)]
        with watched_sockets() as sockets:
            async with Project(websocket=dict.fromkeys(names, server.url)) as project, asyncio.timeout(30):
                connections = [project.websocket(name) for name in names]
                watches = [faults.Watch(connection) for connection in connections]
                for connection in connections:
                    connection.start()
                await asyncio.gather(*(connection.wait_started() for connection in connections))
                assert len(sockets.left()) == 150
                for connection in connections:
                    connection.send(connection.name)
                    connection.stop()
                everyone = await all_stopped(*connections)
                assert [stopped.connection for stopped in everyone] == names
                assert sockets.left() == []
    for name, watch in zip(names, watches, strict=True):
        watch.check()
        assert watch.journal.messages == [name]
        assert watch.stopped[0].was_clean
