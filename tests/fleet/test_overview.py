"""A look at a whole fleet, and what its workers are told to do."""

from __future__ import annotations

import asyncio

import pytest
from fleet.worker.workers import LEASE, SETTLE, Workers
from virtual import virtual

from rxnodes import pulse
from rxnodes.fleet.letters import Unreadable, dumped, lease_letter
from rxnodes.fleet.ordering import TAKEN, Leave, LetGo, order_letter, order_of, order_subject
from rxnodes.fleet.overview import Leases, Lookout, moves
from rxnodes.fleet.rules.sharing import Candidates
from rxnodes.fleet.rules.values import Lease
from rxnodes.fleet.store import Seen
from rxnodes.websocket import client_start

NAMES = [f"chat{number}" for number in range(24)]


def starts_all(project):
    for name in NAMES:
        project.subscribe(pulse().pipe(client_start(project.websocket(name))))


@virtual
async def test_a_lookout_sees_who_is_alive_and_who_holds_what():
    async with Workers(NAMES) as fleet:
        for _ in range(2):
            fleet.join(starts_all)
        await asyncio.sleep(SETTLE + 1)
        async with Lookout(fleet.engine.store()) as lookout:
            await lookout.see_who_is_alive()
            assert {seen.is_alive for seen in lookout.workers.values()} == {True}
            assert lookout.names == sorted(NAMES)
            for hand in fleet.hands:
                for name in hand.worker.held:
                    seen = lookout.connection(name)
                    assert (seen.state, seen.tail.session, seen.record.holder) == ("open", 1, hand.worker.id)
                    assert lookout.is_held(seen)
                    assert seen.is_wanted
            assert not lookout.is_held(lookout.connection("unknown"))
        fleet.hands[0].freeze()
        began = asyncio.get_running_loop().time()
        async with Lookout(fleet.engine.store()) as lookout:
            await lookout.see_who_is_alive()
            assert asyncio.get_running_loop().time() - began < LEASE / 2
            alive = {worker for worker, seen in lookout.workers.items() if seen.is_alive}
            assert alive == {fleet.hands[1].worker.id}


@virtual
async def test_a_worker_that_dies_while_somebody_looks_is_told():
    async with Workers(NAMES) as fleet:
        fleet.join(), fleet.join()
        await asyncio.sleep(SETTLE + 1)
        async with Lookout(fleet.engine.store()) as lookout:
            await lookout.see_who_is_alive()
            dead, living = (hand.worker.id for hand in fleet.hands)
            # What cannot be seen is not told.
            lookout.store.cut()
            await asyncio.sleep(2 * LEASE)
            lookout.store.restore()
            await asyncio.sleep(LEASE)
            assert [lookout.workers[worker].is_alive for worker in (dead, living)] == [True, True]
            fleet.hands[0].freeze()
            began = asyncio.get_running_loop().time()
            while lookout.workers[dead].is_alive:
                await lookout.change()
            assert asyncio.get_running_loop().time() - began <= LEASE
            assert lookout.workers[living].is_alive


@virtual
async def test_who_is_silent_for_an_hour_is_listed_no_more():
    leases = Leases()

    def renew(number):
        leases.seen(Seen("w", lease_letter(Lease(worker="w", number=number, seconds=LEASE)), number))

    renew(1)
    leases.is_current(True)
    await asyncio.sleep(LEASE + 1800)
    assert not leases.workers["w"].is_alive
    renew(2)
    assert leases.workers["w"].is_alive
    await asyncio.sleep(LEASE + 3599)
    assert {*leases.workers} == {"w"}
    await asyncio.sleep(2)
    assert not leases.workers


@virtual
async def test_a_worker_that_is_told_to_leave_drains():
    async with Workers(NAMES) as fleet:
        for _ in range(2):
            fleet.join(starts_all)
        await asyncio.sleep(SETTLE + 1)
        leaving, staying = fleet.hands
        store = fleet.engine.store()
        await store.open()
        left = asyncio.create_task(leaving.worker.left())
        subject = order_subject(leaving.worker.id)
        assert await store.request(subject, order_letter(Leave()), timeout=1) == TAKEN
        await left
        await asyncio.sleep(1)
        assert len(staying.worker.held) == len(NAMES)
        await store.close()


@virtual
async def test_what_a_worker_is_told_to_let_go_is_anybodys():
    async with Workers(NAMES) as fleet:
        for _ in range(2):
            fleet.join(starts_all)
        await asyncio.sleep(SETTLE + 1)
        hand = fleet.hands[0]
        name = hand.worker.held[0]
        store = fleet.engine.store()
        await store.open()
        subject = order_subject(hand.worker.id)
        assert await store.request(subject, order_letter(LetGo([name, "unknown"])), timeout=1) == TAKEN
        await asyncio.sleep(SETTLE + 3)
        assert fleet.kinds(name)[:5] == ["Held", "Connecting", "Opened", "Closing", "Stopped"]
        assert fleet.tail(name).session == 2
        assert fleet.tail(name).is_live
        await store.close()


def held_by(worker, count):
    return {f"c{number}": worker for number in range(count)}


@pytest.mark.parametrize("count", [1, 2, 10, 101])
@pytest.mark.parametrize("others", [1, 2, 9])
def test_only_what_falls_to_a_worker_with_less_than_its_share_moves(count, others):
    leases = [Lease(worker="old"), *(Lease(worker=f"new{number}") for number in range(others))]
    found = moves(held_by("old", count), leases)
    share = -(-count // len(leases))
    workers = [lease.worker for lease in leases]
    gets = [Candidates(workers).first(name) for name in found]
    assert {*found.values()} <= {"old"}
    assert count - len(found) >= share
    assert "old" not in gets
    assert all(gets.count(worker) <= share for worker in workers)
    if count == 101:
        assert len(found) > count / 4
    # Nothing moves a second time.
    after = {**held_by("old", count), **dict(zip(found, gets, strict=True))}
    assert len(moves(after, leases)) < max(len(found), 1)


def test_a_worker_that_is_full_gets_nothing_and_one_that_is_gone_counts_for_nothing():
    assert moves(held_by("old", 8), [Lease(worker="old"), Lease(worker="full", capacity=0)]) == {}
    assert moves(held_by("gone", 8), [Lease(worker="old"), Lease(worker="new")]) == {}


@pytest.mark.parametrize("order", [Leave(), LetGo(["chat", "ch\ud800"])])
def test_an_order_is_read_as_it_was_written(order):
    assert order_of(order_letter(order)) == order


@pytest.mark.parametrize("letter", [b"", b"{}", dumped({}), dumped({"order": "dance"}), dumped({"order": "let go"})])
def test_an_order_that_is_none_is_refused(letter):
    with pytest.raises(Unreadable):
        order_of(letter)
