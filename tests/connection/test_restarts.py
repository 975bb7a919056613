"""Sessions that fail one after the other, in virtual time: `on_stop -> client_start` does not storm a server."""

from __future__ import annotations

import asyncio

import pytest
from virtual import virtual

from rxnodes import ConnectionState, Initiator, Project
from rxnodes.connection.before_connect import ConnectOptions
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import client_start, client_stop, on_start, on_stop

STEADY = {"initial_delay": 2, "factor": 3, "max_delay": 10, "jitter": False}


class Dials:
    """A project with one connection, whose dials are noted with their times."""

    def __init__(self, script, **fields):
        self.script = script
        self.times = []
        settings = {"url": "ws://chat.test/", "reconnect": STEADY, **fields}
        self.project = Project(websocket={"chat": settings}, transport=ScriptedTransport(self._dialled))
        self.chat = self.project.websocket("chat")

    def _dialled(self, peer):
        self.times.append(asyncio.get_running_loop().time())
        self.script(peer)

    async def __aenter__(self):
        await self.project.__aenter__()
        return self

    async def __aexit__(self, *raised):
        await self.project.__aexit__(*raised)


def refuse(peer):
    peer.refuse()


def close(peer):
    peer.accept()
    peer.close(1000, "done")


def hang_up(peer):
    peer.accept()
    peer.reset()


@pytest.mark.parametrize("script", [refuse, close, hang_up])
@virtual
async def test_a_tight_circle_keeps_the_delays_of_retries(script):
    async with Dials(script) as it:
        on_stop(it.chat).pipe(client_start(it.chat)).subscribe()
        it.chat.start()
        await asyncio.sleep(40)
    assert it.times == [0, 0, 2, 8, 18, 28, 38]


@virtual
async def test_a_hook_is_asked_when_the_time_has_come():
    asked = []

    async def hook(_attempt):
        asked.append(asyncio.get_running_loop().time())
        return ConnectOptions(delay=1)

    async with Dials(refuse, before_connect=hook, connect_timeout=0.5) as it:
        on_stop(it.chat).pipe(client_start(it.chat)).subscribe()
        it.chat.start()
        await asyncio.sleep(12.5)
    assert asked == [0, 1, 4, 11]
    assert it.times == [1, 2, 5, 12]


@virtual
async def test_connect_timeout_begins_with_the_dial():
    async with Dials(lambda peer: None, connect_timeout=1) as it:
        on_stop(it.chat).pipe(client_start(it.chat)).subscribe()
        stops = []
        it.chat.lifecycle.subscribe(lambda event: stops.append(event) if type(event).__name__ == "Stopped" else None)
        it.chat.start()
        await asyncio.sleep(12.5)
    assert it.times == [0, 1, 4, 11]
    assert all("connect_timeout" in str(stopped.error) for stopped in stops[:3])


@virtual
async def test_start_and_stop_in_turn_wait_for_nothing():
    async with Dials(lambda peer: peer.accept()) as it:
        sessions = []
        on_start(it.chat).pipe(client_stop(it.chat)).subscribe()
        on_stop(it.chat).pipe(client_start(it.chat)).subscribe(lambda _: sessions.append(it.chat.session))
        it.chat.start()
        while len(sessions) < 50:
            await asyncio.sleep(0)
    assert set(it.times) == {0}


@pytest.mark.parametrize("how", ["stop", "abort", "leave"])
@virtual
async def test_an_end_while_it_waits(how):
    async with Dials(refuse) as it:
        for _ in range(3):
            it.chat.start()
            await asyncio.sleep(0)
            if it.chat.session < 3:
                await it.chat.wait_stopped()
        assert it.chat.state is ConnectionState.CONNECTING
        await asyncio.sleep(1)
        if how != "leave":
            getattr(it.chat, how)()
            assert it.chat.state is ConnectionState.CLOSING
            await it.chat.wait_stopped()
            assert asyncio.get_running_loop().time() == 1
    stopped = it.chat.last_stopped
    assert (stopped.session, stopped.initiator, stopped.error) == (3, Initiator.LOCAL, None)
    assert asyncio.get_running_loop().time() == 1, "the project is left at once"
    assert it.times == [0, 0]


@virtual
async def test_a_start_by_hand_after_a_pause_waits_for_nothing():
    async with Dials(refuse) as it:
        for _ in range(4):
            it.chat.start()
            await it.chat.wait_stopped()
            await asyncio.sleep(60)
    assert it.times == [0, 60, 120, 180]


@pytest.mark.parametrize(("is_heeded", "times"), [(True, [0, 25, 50]), (False, [0, 0, 2, 8, 18, 28, 38, 48, 58])])
@virtual
async def test_a_server_that_asks_for_time_gets_it(is_heeded, times):
    def busy(peer):
        peer.refuse("busy", status=503, headers={"Retry-After": "25"})

    async with Dials(busy, reconnect=STEADY | {"retry_after": is_heeded}) as it:
        on_stop(it.chat).pipe(client_start(it.chat)).subscribe()
        it.chat.start()
        await asyncio.sleep(60)
    assert it.times == times


@pytest.mark.parametrize(
    ("fields", "tries"), [({}, 1), ({"final_statuses": []}, 3), ({"final_statuses": ["400-599"]}, 1)]
)
@virtual
async def test_a_status_is_final_where_the_settings_say_so(fields, tries):
    async with Dials(
        lambda peer: peer.refuse(status=401), reconnect=STEADY | {"enabled": True, "max_attempts": 3, **fields}
    ) as it:
        it.chat.start()
        stopped = await it.chat.wait_stopped()
    assert stopped.attempts == tries
    assert stopped.error.status == 401
