"""A connection that is steered from outside: who starts it, and what waits for a word."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from steering import Steering
from virtual import Chat, virtual

from rxnodes import (
    ConnectionState,
    HolderLost,
    Initiator,
    Project,
    RxNodesError,
    SendUnknown,
    Sent,
    Trigger,
    Unsent,
    pulse,
)
from rxnodes.testing import ScriptedTransport
from rxnodes.transport.receipts import SharedOutcome
from rxnodes.websocket import (
    all_stopped,
    client_send,
    client_start,
    client_stop,
    messages,
    on_stop,
    request,
    until_stopped,
)

RECONNECT = {"initial_delay": 1, "jitter": False}


def accept(peer):
    peer.accept()


class Told:
    """What a connection told. A `Journal` would expect the sessions 1, 2, 3."""

    def __init__(self):
        self.events, self.states, self.messages = [], [], []
        self.event, self.state, self.message = self.events.append, self.states.append, self.messages.append

    @property
    def kinds(self):
        return [type(event).__name__ for event in self.events]


def steered(*args, is_held=True, at_once=False, **fields):
    """A connection on a scripted transport, and what steers it."""
    chat = Chat(*args, journal=Told, **fields)
    steering = Steering(at_once=at_once)
    steering.take(chat.connection)
    if is_held:
        steering.helm.hold()
    return chat, steering


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


# --- Commands ---------------------------------------------------------------------------------------------------------


@virtual
async def test_what_is_asked_for_is_not_done_but_decided_elsewhere():
    chat, steering = steered(is_held=False)
    commands = Trigger()
    commands.pipe(client_start(chat.connection), client_stop(chat.connection, code=4000, reason="bye")).subscribe()
    commands.fire()
    chat.connection.start()
    chat.connection.abort()
    assert steering.told == ["start", ("stop", 4000, "bye"), "start", "abort"]
    assert chat.connection.state is ConnectionState.IDLE
    assert chat.journal.events == []


@virtual
async def test_a_command_of_another_thread_is_decided_on_the_loop():
    chat, steering = steered()
    threads = []
    steering.start = lambda: threads.append(threading.get_ident())
    await asyncio.to_thread(chat.connection.start)
    await turns()
    assert threads == [threading.get_ident()]


@virtual
async def test_an_abort_of_what_is_live_here_is_done_here():
    chat, steering = steered(at_once=True)
    steering.helm.begin(1)
    await chat.connection.wait_started()
    chat.connection.abort()
    stopped = await chat.connection.wait_stopped()
    assert stopped.initiator is Initiator.LOCAL
    assert steering.told == []


@virtual
async def test_sessions_have_the_numbers_that_they_are_given():
    chat, steering = steered(at_once=True)
    for number in (7, 8, 20):
        steering.helm.begin(number)
        assert chat.connection.session == number
        await chat.connection.wait_started()
        steering.helm.stop(4001, "enough")
        assert (await chat.connection.wait_stopped()).session == number
        assert chat.peer.close_frame == (4001, "enough")
    assert {event.session for event in steering.events} == {7, 8, 20}


@virtual
async def test_a_session_that_is_begun_in_a_notification_of_the_end_comes_behind_it():
    chat, steering = steered(at_once=True)
    on_stop(chat.connection).subscribe(lambda stopped: stopped.session < 3 and steering.helm.begin(stopped.session + 1))
    steering.helm.begin(1)
    for number in (1, 2, 3):
        assert (await chat.connection.wait_started()).session == number
        steering.helm.stop(1000, "")
        await turns(50)
    assert chat.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"] * 3


# --- The dial ---------------------------------------------------------------------------------------------------------


@virtual
async def test_a_dial_waits_for_its_permission_and_connect_timeout_begins_then():
    def silent(_peer):
        pass

    chat, steering = steered(silent, connect_timeout=10)
    steering.helm.begin(1)
    await asyncio.sleep(8)
    assert chat.journal.kinds == ["Connecting"]
    assert not chat.transport.peers
    steering.go()
    assert len(chat.transport.peers) == 1
    await asyncio.sleep(8)
    assert chat.connection.state is ConnectionState.CONNECTING
    await asyncio.sleep(3)
    assert steering.kinds == ["Connecting", "ErrorEvent", "Stopped"]


@virtual
async def test_each_attempt_waits():
    chat, steering = steered(reconnect=RECONNECT)
    steering.helm.begin(1)
    steering.go()
    await chat.connection.wait_started()
    chat.peer.reset()
    await asyncio.sleep(5)
    assert steering.kinds == ["Connecting", "Opened", "ErrorEvent", "Dropped", "Connecting"]
    steering.go()
    await chat.connection.wait_started()
    await turns()
    assert chat.connection.state is ConnectionState.OPEN
    assert (chat.connection.session, chat.connection.attempt) == (1, 2)


@pytest.mark.parametrize("how", ["stop", "abort", "shutdown", "timeout"])
@virtual
async def test_an_attempt_that_ends_while_it_waits_never_dials(how):
    chat, steering = steered(connect_timeout=5)
    steering.helm.begin(1)
    await turns()
    if how == "stop":
        steering.helm.stop(1000, "")
    elif how == "abort":
        steering.helm.abort()
    elif how == "shutdown":
        chat.connection.for_project.shutdown()
    else:
        await asyncio.sleep(6)
    await turns()
    steering.go()
    steering.release()
    stopped = await chat.connection.wait_stopped()
    assert not stopped.opened
    assert chat.transport.peers == []
    assert chat.journal.kinds[-1] == "Stopped"


@virtual
async def test_a_permission_for_an_attempt_that_is_over_does_not_count_for_the_next():
    chat, steering = steered(reconnect=RECONNECT, connect_timeout=5)
    steering.helm.begin(1)
    await asyncio.sleep(7)
    assert [event.attempt for event in steering.events if type(event).__name__ == "Connecting"] == [1, 2]
    steering.dials[0]()
    await turns()
    assert chat.transport.peers == []
    steering.dials[1]()
    await chat.connection.wait_started()
    assert chat.connection.attempt == 2


@virtual
async def test_a_session_that_comes_too_soon_waits_for_its_time_too():
    def refuse(peer):
        peer.refuse(status=503)

    chat, steering = steered(refuse, at_once=True, reconnect={**RECONNECT, "max_attempts": 1})
    loop = asyncio.get_running_loop()
    delays = []
    for number in (1, 2, 3):
        begun = loop.time()
        steering.helm.begin(number)
        await chat.connection.wait_stopped()
        delays.append(loop.time() - begun)
    assert delays == pytest.approx([0, 0, 1])


# --- The end ----------------------------------------------------------------------------------------------------------


@virtual
async def test_nothing_of_the_end_is_told_before_it_may_be_and_all_messages_before():
    def goodbye(peer):
        peer.accept()
        peer.send("one")
        peer.send("two")
        peer.close(1000, "bye")

    chat, steering = steered(goodbye)
    ended = []
    all_stopped(chat.connection).subscribe(ended.append)
    steering.helm.begin(1)
    ended.clear()
    pulse().pipe(until_stopped(chat.connection)).subscribe(ended.append)
    waits = asyncio.create_task(chat.connection.wait_stopped())
    steering.go()
    await asyncio.sleep(30)
    assert chat.journal.messages == ["one", "two"]
    assert steering.kinds == ["Connecting", "Opened", "Closing", "Stopped"]
    assert chat.journal.kinds == ["Connecting", "Opened", "Closing"]
    assert chat.journal.states[-1] is ConnectionState.CLOSING
    assert chat.connection.state is ConnectionState.CLOSED
    assert chat.connection.is_live
    assert not ended
    assert not waits.done()
    # What goes wrong meanwhile does not overtake it.
    chat.connection.send("too late")
    steering.release()
    steering.release()
    assert chat.journal.kinds[3:] == ["Stopped", "ErrorEvent"]
    assert steering.kinds[4:] == ["ErrorEvent"]
    assert chat.journal.states[-1] is ConnectionState.CLOSED
    assert not chat.connection.is_live
    assert len(ended) == 1
    assert (await waits).reason == "bye"


@pytest.mark.parametrize("was_open", [True, False])
@virtual
async def test_a_session_that_is_anothers_to_end_tells_an_error_in_place_of_its_stopped(was_open):
    chat, steering = steered()
    stops = []
    on_stop(chat.connection).subscribe(stops.append)
    steering.helm.begin(5)
    released = []
    pulse().pipe(until_stopped(chat.connection)).subscribe(released.append)
    if was_open:
        steering.go()
        await chat.connection.wait_started()
    waits = asyncio.create_task(chat.connection.wait_stopped())
    steering.helm.abort()
    await turns()
    steering.release(is_lost=True)
    stopped = await waits
    assert stops == []
    [error] = [event for event in chat.journal.events if type(event).__name__ == "ErrorEvent"]
    assert (error.session, error.phase) == (5, "close")
    assert isinstance(error.error, HolderLost)
    assert (stopped.session, stopped.code, stopped.initiator) == (5, 1006, Initiator.NETWORK)
    assert stopped.error is error.error
    assert chat.journal.states[-1] is ConnectionState.CLOSED
    assert not chat.connection.is_live
    assert len(released) == 1
    # It may be held here again.
    steering.helm.begin(9)
    assert chat.connection.session == 9


@virtual
async def test_a_wait_for_messages_ends_when_the_holder_is_lost():
    chat, steering = steered(at_once=True)
    steering.helm.begin(1)
    await chat.connection.wait_started()
    async with messages(chat.connection) as heard:
        answer = asyncio.ensure_future(request(chat.connection, "?", match=bool))
        await turns()
        steering.at_once = False
        steering.helm.abort()
        await turns()
        steering.release(is_lost=True)
        steering.helm.let_go()
        with pytest.raises(Exception, match="the connection ended before the answer came") as raised:
            await answer
        assert isinstance(raised.value.__cause__, HolderLost)
        assert [message async for message in heard] == []


@virtual
async def test_the_next_holder_publishes_the_stopped_of_a_lost_one():
    chat, steering = steered(at_once=True)
    steering.helm.begin(1)
    steering.helm.stop(1000, "")
    stopped = await chat.connection.wait_stopped()
    lost = replace(stopped, session=4, attempt=3, initiator=Initiator.NETWORK, error=HolderLost("gone"))
    seen = []
    on_stop(chat.connection).subscribe(lambda it: seen.append((it, chat.connection.state, chat.connection.session)))
    steering.events.clear()
    steering.helm.tell(lost)
    assert seen == [(lost, ConnectionState.CLOSED, 4)]
    assert steering.events == []
    assert await chat.connection.wait_stopped() is lost
    assert chat.connection.for_project.traffic[0] == 4
    steering.helm.begin(5)
    assert (await chat.connection.wait_started()).session == 5


@virtual
async def test_a_connection_that_was_never_started_here_is_closed_when_such_an_end_is_told():
    chat, steering = steered()
    other, other_steering = steered(at_once=True)
    other_steering.helm.begin(1)
    other_steering.helm.abort()
    stopped = await other.connection.wait_stopped()
    states = []
    chat.connection.states.subscribe(states.append)
    ended = []
    chat.connection.for_nodes.ended.subscribe(ended.append)
    steering.helm.tell(replace(stopped, session=3))
    assert states == [ConnectionState.IDLE, ConnectionState.CLOSED]
    assert [it.session for it in ended] == [3]


@virtual
async def test_in_a_forked_process_nothing_is_asked_of_what_steers():
    chat, steering = steered(at_once=True)
    steering.is_live = True
    chat.connection.for_project.disown()
    for ask in (chat.connection.start, chat.connection.stop, chat.connection.abort, lambda: chat.connection.send("x")):
        with pytest.raises(RxNodesError, match="was opened by the process that this one was forked from"):
            ask()
    chat.connection.for_project.abort()
    chat.connection.for_project.shutdown()
    steering.helm.begin(1)
    assert not chat.connection.is_live
    assert steering.told == steering.sent == []


# --- What happens elsewhere -------------------------------------------------------------------------------------------


@virtual
async def test_a_command_counts_as_live_until_its_outcome_is_known():
    chat, steering = steered(is_held=False)
    seen = []
    steering.is_live = True
    assert chat.connection.is_live
    all_stopped(chat.connection).subscribe(seen.append)
    pulse("on").pipe(until_stopped(chat.connection)).subscribe(seen.append)
    steering.helm.note()
    assert seen == []
    steering.is_live = False
    steering.helm.note()
    assert sorted(seen, key=str) == [(None,), "on"]


@virtual
async def test_a_wait_here_ends_with_what_happens_elsewhere():
    there, there_steering = steered(at_once=True)
    there_steering.helm.begin(1)
    opened = await there.connection.wait_started()
    there_steering.helm.stop(1000, "done")
    stopped = await there.connection.wait_stopped()

    chat, steering = steered(is_held=False)
    for number in (3, 4):
        steering.is_live = True
        has_opened, has_ended = (
            asyncio.ensure_future(it()) for it in (chat.connection.wait_started, chat.connection.wait_stopped)
        )
        await turns()
        assert not has_opened.done()
        steering.helm.note(replace(opened, session=number))
        assert (await has_opened).session == number
        assert not has_ended.done()
        steering.is_live = False
        steering.helm.note(replace(stopped, session=number))
        assert (await has_ended).session == number
        assert chat.connection.last_stopped.session == number
    assert chat.journal.events == []
    assert chat.connection.state is ConnectionState.IDLE


# --- Messages ---------------------------------------------------------------------------------------------------------


def outcome(kind, **more):
    return SharedOutcome(kind, "chat", 4, 2, datetime.now(UTC), more)


@virtual
async def test_a_message_goes_to_the_holder():
    chat, steering = steered(is_held=False)
    outcomes, errors = [], []
    chat.connection.sends.subscribe(outcomes.append)
    chat.connection.errors.subscribe(errors.append)
    pulse("one").pipe(client_send(chat.connection, tag=len)).subscribe()
    two, three = chat.connection.send(b"two"), chat.connection.send("three", tag="t")
    assert [(it.payload, it.is_text) for it in steering.sent] == [(b"one", True), (b"two", False), (b"three", True)]
    waits = asyncio.create_task(_awaited(two))
    await turns()
    steering.helm.settle(steering.sent[0], outcome(Sent))
    steering.helm.settle(two, outcome(Unsent))
    steering.helm.settle(three, outcome(SendUnknown))
    assert [(type(it), it.tag, it.session) for it in outcomes] == [(Sent, 3, 4)]
    assert isinstance(await waits, Unsent)
    for _ in range(2):
        with pytest.raises(SendUnknown, match="may have been sent"):
            await three
    assert [(it.phase, type(it.error)) for it in errors] == [("send", SendUnknown)]


async def _awaited(receipt):
    return await receipt


@virtual
async def test_a_message_of_another_thread_goes_there_too():
    chat, steering = steered(is_held=False)
    await asyncio.to_thread(lambda: [chat.connection.send(text) for text in "abc"])
    await turns()
    assert [it.payload for it in steering.sent] == [b"a", b"b", b"c"]


@virtual
async def test_the_holder_sends_and_refuses_where_it_is_not_open():
    chat, steering = steered(at_once=True)
    errors = []
    chat.connection.errors.subscribe(lambda event: errors.append(event.message))
    chat.connection.send("early")
    assert errors == ["'chat' is idle, not open: message not sent"]
    steering.helm.begin(1)
    await chat.connection.wait_started()
    assert isinstance(await chat.connection.send("now"), Sent)
    assert steering.sent == []
    assert chat.peer.received == ["now"]


# --- Leaving ----------------------------------------------------------------------------------------------------------


def worker(steering, script=accept, **fields):
    transport = ScriptedTransport(script)
    project = Project(websocket={"chat": {"url": "ws://chat.test/", **fields}}, transport=transport)
    project.steer(steering.take)
    return project, project.websocket("chat")


@virtual
async def test_leaving_waits_until_the_end_may_be_told():
    steering = Steering()
    project, chat = worker(steering)
    told = []
    on_stop(chat).subscribe(told.append)
    on_stop(chat).pipe(client_start(chat)).subscribe()
    async with project:
        steering.helm.hold()
        steering.helm.begin(1)
        steering.go()
        await chat.wait_started()
        asyncio.get_running_loop().call_later(3, steering.release)
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun == pytest.approx(3)
    assert len(told) == 1
    # What is stopped because of the leaving is not started again by it.
    assert steering.told == ["shutdown"]
    steering.helm.begin(2)
    assert chat.session == 1
    assert not chat.is_live


@virtual
async def test_leaving_ends_where_the_session_is_lost_meanwhile():
    steering = Steering()
    project, chat = worker(steering)
    async with project:
        steering.helm.begin(1)
        await turns()
        asyncio.get_running_loop().call_later(3, lambda: steering.release(is_lost=True))
    assert isinstance(chat.last_stopped.error, HolderLost)


@pytest.mark.parametrize("is_withheld", [True, False])
@virtual
async def test_aborting_the_project_cuts_the_waiting_short(is_withheld):
    steering = Steering()
    project, chat = worker(steering, close_timeout=60)
    async with project:
        steering.helm.begin(1)
        steering.go()
        await chat.wait_started()
        project._transport.peer.answers_close = is_withheld
        asyncio.get_running_loop().call_later(3, project.abort)
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun == pytest.approx(3)
    assert isinstance(chat.last_stopped.error, HolderLost)
    assert steering.kinds[-1] == "Stopped"


@virtual
async def test_leaving_does_not_wait_for_what_is_live_elsewhere():
    steering = Steering()
    project, chat = worker(steering)
    async with project:
        steering.is_live = True
        assert chat.is_live
        waits = asyncio.create_task(chat.wait_stopped())
        await turns()
    assert not chat.is_live
    assert "abort" not in steering.told
    with pytest.raises(Exception, match="was removed, or the project closed"):
        await waits


@virtual
async def test_aborting_a_project_aborts_nothing_elsewhere():
    steering = Steering()
    project, _ = worker(steering)
    async with project:
        project.abort()
        assert steering.told == []


@virtual
async def test_a_connection_that_is_removed_is_let_end_first():
    steering = Steering(at_once=True)
    project, chat = worker(steering)
    async with project:
        steering.helm.begin(1)
        await chat.wait_started()
        await project.remove_websocket("chat")
        assert chat.last_stopped.was_clean
        assert steering.told == ["shutdown"]


def test_in_a_plain_with_the_steering_is_told_on_the_projects_thread():
    steering = Steering(at_once=True)
    threads = set()
    project, chat = worker(steering)
    steering.start = lambda: (threads.add(threading.get_ident()), steering.helm.begin(1))
    steering.stop = lambda code, reason: (threads.add(threading.get_ident()), steering.helm.stop(code, reason))
    with project:
        chat.start()
        opened = project.call(chat.wait_started)
        chat.stop()
        stopped = project.call(chat.wait_stopped)
        assert (opened.session, stopped.session) == (1, 1)
        assert len(threads) == 1
        assert threads != {threading.get_ident()}
    chat.start()
    chat.stop()
    assert len(threads) == 1
