"""Workers share, begin, end, take over and leave, on a store in memory and in virtual time."""

from __future__ import annotations

import asyncio

from fleet.worker.workers import LEASE, SETTLE, Workers
from virtual import virtual

from rxnodes import HolderLost, Initiator, pulse
from rxnodes.lifecycle.events import ErrorEvent, Stopped
from rxnodes.websocket import client_start


def starts(*names):
    def build(project):
        for name in names:
            project.subscribe(pulse().pipe(client_start(project.websocket(name))))

    return build


@virtual
async def test_what_every_worker_starts_is_one_start():
    async with Workers() as fleet:
        for _ in range(3):
            fleet.join(starts("chat"))
        await asyncio.sleep(SETTLE + 1)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened"]
        holder = fleet.holder("chat")
        assert holder.kinds("chat") == ["Connecting", "Opened"]
        assert [hand.events for hand in fleet.hands if hand is not holder] == [[], []]


@virtual
async def test_a_stop_anywhere_stops_the_session_wherever_it_is():
    async with Workers() as fleet:
        for _ in range(2):
            fleet.join(starts("chat"))
        await asyncio.sleep(SETTLE + 1)
        holder = fleet.holder("chat")
        (other,) = (hand for hand in fleet.hands if hand is not holder)
        other["chat"].stop(code=4000, reason="enough")
        stopped = await other["chat"].wait_stopped()
        assert (stopped.session, stopped.initiator) == (1, Initiator.LOCAL)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened", "Closing", "Stopped"]
        await asyncio.sleep(0.1)
        assert holder.kinds("chat") == ["Connecting", "Opened", "Closing", "Stopped"]
        assert other.events == []
        other["chat"].start()
        assert (await other["chat"].wait_started()).session == 2


@virtual
async def test_a_worker_that_is_cut_off_lets_go_before_another_takes_over():
    async with Workers() as fleet:
        for _ in range(2):
            fleet.join(starts("chat"))
        await asyncio.sleep(SETTLE + 1)
        holder = fleet.holder("chat")
        (other,) = (hand for hand in fleet.hands if hand is not holder)
        holder.freeze()
        await asyncio.sleep(LEASE * 7 / 8)
        assert not holder.worker.is_joined
        assert holder.kinds("chat") == ["Connecting", "Opened", "Closing", "ErrorEvent"]
        assert isinstance(holder.events[-1], ErrorEvent)
        assert isinstance(holder.events[-1].error, HolderLost)
        assert other.events == []
        await asyncio.sleep(LEASE / 8 + 1)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened", "Held", "Stopped", "Connecting", "Opened"]
        stopped = other.events[0]
        assert isinstance(stopped, Stopped)
        assert (stopped.session, stopped.initiator) == (1, Initiator.NETWORK)
        assert isinstance(stopped.error, HolderLost)
        assert other["chat"].session == 2
        holder.store.restore()
        await asyncio.sleep(2)
        assert holder.worker.is_joined
        assert fleet.holder("chat") is other


@virtual
async def test_leaving_in_order_hands_over():
    names = [f"chat{number}" for number in range(24)]
    async with Workers(names) as fleet:
        for _ in range(2):
            fleet.join(starts(*names))
        await asyncio.sleep(SETTLE + 1)
        leaving, staying = fleet.hands
        held = leaving.worker.held
        assert 0 < len(held) < 24
        await leaving.leave()
        await asyncio.sleep(1)
        assert len(staying.worker.held) == 24
        for name in held:
            assert fleet.kinds(name)[:5] == ["Held", "Connecting", "Opened", "Closing", "Stopped"]
            assert leaving.kinds(name) == ["Connecting", "Opened", "Closing", "Stopped"]
            assert fleet.tail(name).session == 2
            assert fleet.tail(name).is_live
