"""Workers share, begin, end, take over and leave, on a store in memory and in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleet.memory_store import late_request, lost_request
from fleet.worker.workers import LEASE, SETTLE, Workers
from virtual import virtual

from rxnodes import ConnectionState, HolderLost, Initiator, RxNodesError, Sent, pulse
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.lifecycle.events import ErrorEvent, Stopped
from rxnodes.websocket import all_stopped, client_start, until_stopped


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
        holder, other = await fleet.pair(starts("chat"))
        other["chat"].stop(code=4000, reason="enough")
        stopped = await other["chat"].wait_stopped()
        assert (stopped.session, stopped.initiator) == (1, Initiator.LOCAL)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened", "Closing", "Stopped"]
        await asyncio.sleep(0.1)
        assert holder.kinds("chat") == ["Connecting", "Opened", "Closing", "Stopped"]
        assert other.events == []
        other["chat"].start()
        assert (await other["chat"].wait_started()).session == 2
        other["chat"].abort()
        assert (await other["chat"].wait_stopped()).code == 1006


@virtual
async def test_who_waits_on_a_worker_that_never_held_nor_commanded_a_connection_learns_how_it_stands():
    early = []

    def waits(project):
        # Before the worker has seen anything of the fleet.
        early.append(asyncio.ensure_future(project.websocket("chat").wait_stopped()))

    async with Workers() as fleet, asyncio.timeout(20 * LEASE):
        holder = await fleet.joined(starts("chat"))
        other = await fleet.joined(waits)
        chat, ends, held = other["chat"], [], []
        assert (await chat.wait_started()).session == 1
        all_stopped(chat).subscribe(ends.append)
        pulse().pipe(until_stopped(chat)).subscribe(held.append)
        waiting = asyncio.ensure_future(chat.wait_stopped())
        await asyncio.sleep(LEASE)
        assert (ends, held, waiting.done(), early[0].done(), chat.is_live) == ([], [], False, False, True)
        holder["chat"].stop()
        assert (await waiting).session == (await early[0]).session == 1
        assert ([it.session for (it,) in ends], len(held), chat.is_live) == ([1], 1, False)

        # Over while nobody waits here.
        for session in (2, 3):
            holder["chat"].start()
            await holder["chat"].wait_started()
            holder["chat"].stop()
            await holder["chat"].wait_stopped()
            assert (await chat.wait_stopped()).session == session
        all_stopped(chat).subscribe(ends.append)
        await asyncio.sleep(1)
        assert [it.session for (it,) in ends] == [1, 3]
        assert (await chat.wait_started()).session == 3

        # A worker that has only ever taken over what had ended.
        last = await fleet.joined()
        await holder.leave()
        await other.leave()
        await asyncio.sleep(1)
        assert last.worker.held == ("chat",)
        assert (await last["chat"].wait_stopped()).session == 3
        assert last.events == []


@virtual
async def test_who_waits_on_a_third_worker_waits_for_one_session_though_the_wish_outlives_it():
    async with Workers() as fleet, asyncio.timeout(20 * LEASE):
        holder = await fleet.joined(starts("chat"))
        heir, other = fleet.join(), await fleet.joined(capacity=0)
        chat = other["chat"]
        waiting = asyncio.ensure_future(chat.wait_stopped())
        await asyncio.sleep(0.1)
        holder.freeze()
        lost = await waiting
        assert (lost.session, type(lost.error)) == (1, HolderLost)
        assert (await chat.wait_started()).session == 2
        waiting = asyncio.ensure_future(chat.wait_stopped())
        await heir.leave()
        assert (await waiting).session == (await chat.wait_stopped()).session == 2
        # Nobody can hold it now. A start here wants a session behind that one.
        chat.start()
        waiting = asyncio.ensure_future(chat.wait_stopped())
        await asyncio.sleep(1)
        assert (waiting.done(), chat.is_live) == (False, True)
        last = fleet.join()
        assert (await chat.wait_started()).session == 3
        last["chat"].stop()
        assert (await waiting).session == 3


@virtual
async def test_who_waits_on_a_worker_for_an_end_that_is_no_longer_in_the_log_learns_that_it_is_over():
    async with Workers() as fleet, asyncio.timeout(20 * LEASE):
        holder = await fleet.joined(starts("chat"))
        holder["chat"].stop()
        await holder["chat"].wait_stopped()
        holder.worker._seats["chat"].helm.report("handler", RxNodesError("anything"))
        await asyncio.sleep(0.1)
        # The history is short.
        del fleet.engine.log[:-1]
        other = await fleet.joined()
        for _ in range(2):
            stopped = await other["chat"].wait_stopped()
            assert (stopped.session, stopped.code, stopped.opened) == (1, 1006, True)
            assert "does not have the end of session 1 any more" in str(stopped.error)


@virtual
async def test_who_waits_for_what_build_has_wished_in_vain_learns_how_it_stands():
    ends = []

    def build(project):
        project.websocket("chat").start()
        all_stopped(project.websocket("chat")).subscribe(ends.append)

    async with Workers() as fleet:
        holder = await fleet.joined(starts("chat"))
        other = await fleet.joined(build)
        assert (ends, other["chat"].is_live) == ([], True)
        holder["chat"].stop()
        await holder["chat"].wait_stopped()
        await asyncio.sleep(1)
        assert [it.session for (it,) in ends] == [1]


@virtual
async def test_what_was_never_started_is_waited_for_and_holds_nothing_up():
    async with Workers() as fleet:
        holder = await fleet.joined()
        other = await fleet.joined()
        for hand in (holder, other):
            ends, held = [], []
            all_stopped(hand["chat"]).subscribe(ends.append)
            pulse().pipe(until_stopped(hand["chat"])).subscribe(held.append)
            waiting = asyncio.ensure_future(hand["chat"].wait_stopped())
            await asyncio.sleep(1)
            assert (ends, len(held), waiting.done()) == ([(None,)], 1, False)
            waiting.cancel()


@virtual
async def test_what_is_in_the_log_before_a_command_is_answered_lets_those_go_who_wait():
    async with Workers(("chat", "news")) as fleet:
        await fleet.joined(starts("chat", "news"))
        other = await fleet.joined()
        other["news"].stop()
        await other["news"].wait_stopped()
        # It is open already. That is not the last entry, and the log is read for another connection already.
        fleet.holder("chat").worker._seats["chat"].helm.report("handler", RxNodesError("anything"))
        await asyncio.sleep(0.1)
        assert fleet.kinds("chat")[-2:] == ["Opened", "ErrorEvent"]
        other["chat"].start()
        async with asyncio.timeout(LEASE):
            assert (await other["chat"].wait_started()).session == 1
        write_record = other.store.write_record

        async def write_slowly(*args):
            revision = await write_record(*args)
            await asyncio.sleep(1)
            return revision

        other.store.write_record = write_slowly
        other["chat"].stop()
        async with asyncio.timeout(LEASE):
            assert (await other["chat"].wait_stopped()).session == 1


@virtual
async def test_a_start_that_another_takes_back_lets_those_go_who_wait():
    async with Workers(("chat", "news")) as fleet:
        full = await fleet.joined(capacity=1)
        (name,) = {"chat", "news"} - {*full.worker.held}
        full[name].start()
        await asyncio.sleep(0.1)
        ends = []
        all_stopped(full[name]).subscribe(ends.append)
        await asyncio.sleep(0.1)
        assert ends == []
        async with Fleet(fleet.engine.store()) as outside:
            outside.websocket(name).stop()
        await asyncio.sleep(0.1)
        assert ends == [(None,)]


@virtual
async def test_a_worker_that_is_cut_off_lets_go_before_another_takes_over():
    async with Workers() as fleet:
        holder, other = await fleet.pair(starts("chat"))
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
        leaving, staying = await fleet.pair(starts(*names))
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


@virtual
async def test_what_build_commands_overrides_nothing():
    async with Workers() as fleet:
        first = await fleet.joined(starts("chat"))
        first["chat"].stop()
        await first["chat"].wait_stopped()
        second = await fleet.joined(starts("chat"))
        await first.leave()
        await asyncio.sleep(1)
        assert fleet.holder("chat") is second
        assert fleet.kinds("chat")[-2:] == ["Stopped", "Held"]
        assert not second["chat"].is_live


@virtual
async def test_what_build_commands_counts_where_nobody_has_wished_anything():
    async with Workers() as fleet:
        first = await fleet.joined()
        assert fleet.kinds("chat") == ["Held"]
        fleet.join(starts("chat"))
        await asyncio.sleep(1)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened"]
        assert fleet.holder("chat") is first


@pytest.mark.parametrize("stands", ["nothing", "wished", "stopped"])
@virtual
async def test_what_is_commanded_once_the_records_are_seen_and_no_lease_is_there_yet_counts_likewise(stands):
    async with Workers() as fleet:
        first = await fleet.joined(starts("chat") if stands == "stopped" else lambda _: None)
        if stands == "stopped":
            first["chat"].stop()
            await first["chat"].wait_stopped()
        late = fleet.join()
        # Its lease comes late; the records are seen by then.
        late.store.faults = [lost_request, lost_request]
        await asyncio.sleep(0.1)
        assert not late.worker.is_joined
        late["chat"].start()
        if stands == "nothing":
            late["chat"].stop()
        await asyncio.sleep(2 * LEASE)
        assert late.worker.is_joined
        assert fleet.tail("chat").is_live is late["chat"].is_live is (stands == "wished")


def wires(project):
    def wire(scope, connection):
        scope.subscribe(pulse().pipe(client_start(connection)))

    project.for_each(["chat"], wire)


@virtual
async def test_what_is_wired_with_each_holding_starts_once():
    async with Workers() as fleet:
        first, _ = fleet.join(wires), await fleet.joined(wires)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened"]
        first["chat"].stop()
        await first["chat"].wait_stopped()
        holder = fleet.holder("chat")
        (other,) = (hand for hand in fleet.hands if hand is not holder)
        await holder.leave()
        await asyncio.sleep(1)
        assert fleet.holder("chat") is other
        assert not fleet.tail("chat").is_live
        other["chat"].start()
        assert (await other["chat"].wait_started()).session == 2


@virtual
async def test_what_ends_by_itself_stays_ended():
    async with Workers() as fleet:
        holder, _ = await fleet.pair(starts("chat"))
        holder.transport.peer.close(1000, "bye")
        assert (await holder["chat"].wait_stopped()).initiator is Initiator.REMOTE
        await holder.leave()
        await asyncio.sleep(1)
        assert fleet.kinds("chat")[-3:] == ["Closing", "Stopped", "Held"]


@virtual
async def test_a_stop_on_the_holder_takes_effect_at_once():
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"))
        hand["chat"].stop()
        assert hand["chat"].state is ConnectionState.CLOSING
        hand["chat"].start()
        await hand["chat"].wait_stopped()
        assert (await hand["chat"].wait_started()).session == 2


@pytest.mark.parametrize(("end", "is_started_again"), [("stop", False), ("stop", True), ("abort", False)])
@virtual
async def test_a_stop_on_a_holder_that_is_lost_before_the_log_has_it_stops_all_the_same(end, is_started_again):
    async with Workers() as fleet:
        holder = await fleet.joined(starts("chat"))
        fleet.engine.stop()
        getattr(holder["chat"], end)()
        if is_started_again:
            holder["chat"].start()
        await asyncio.sleep(2 * LEASE)
        fleet.engine.start()
        await asyncio.sleep(3 * LEASE)
        # The next one may have begun before that could be written.
        assert fleet.tail("chat").is_live is is_started_again
        assert fleet.record("chat").wish.run is is_started_again


@pytest.mark.parametrize("by_peer", [False, True])
@virtual
async def test_a_start_behind_an_end_that_the_log_takes_too_late_begins_again(by_peer):
    async with Workers() as fleet:
        holder = await fleet.joined(starts("chat"))
        # What tells of the end is under way until the hold is lost, and comes before anybody has claimed again.
        is_lost_after = LEASE * 7 / 8 + 0.02
        holder.store.faults = [replace(late_request, arrives=is_lost_after + 0.06)]
        if by_peer:
            holder.transport.peer.close(1001, "away")
        else:
            holder["chat"].stop()
        await asyncio.sleep(0)
        holder.store.cut()
        holder["chat"].start()
        await asyncio.sleep(is_lost_after)
        assert not holder.worker.held
        holder.store.restore()
        await asyncio.sleep(3 * LEASE)
        assert fleet.kinds("chat")[2:] == ["Opened", "Closing", "Held", "Stopped", "Connecting", "Opened"]


@pytest.mark.parametrize("by_peer", [False, True])
@virtual
async def test_a_stop_behind_an_end_that_the_log_never_takes_stops_all_the_same(by_peer):
    async with Workers() as fleet:
        holder = await fleet.joined(starts("chat"))
        holder.store.cut()
        if by_peer:
            holder.transport.peer.close(1001, "away")
        else:
            holder["chat"].stop()
        await asyncio.sleep(0.1)
        # It is over here, and waits for the log.
        holder["chat"].stop()
        await asyncio.sleep(2 * LEASE)
        holder.store.restore()
        await asyncio.sleep(3 * LEASE)
        assert not fleet.tail("chat").is_live
        assert not fleet.record("chat").wish.run


@virtual
async def test_what_ends_behind_the_lease_has_not_ended_by_itself():
    async with Workers() as fleet:
        holder = await fleet.joined(starts("chat"))
        fleet.engine.stop()
        # Past the end of the lease the transport gives its links up, before the worker looks at the clock.
        loop, until = asyncio.get_running_loop(), holder.worker._guard.until
        loop.call_at(until - 0.01, lambda worker: worker._tick.cancel(), holder.worker)
        loop.call_at(until, fleet.engine.start)
        loop.call_at(until, holder.transport.peer.reset)
        loop.call_at(until + 0.05, holder.worker._on_tick)
        await asyncio.sleep(3 * LEASE)
        assert (fleet.tail("chat").session, fleet.tail("chat").is_live) == (2, True)


@virtual
async def test_a_stop_on_a_holder_that_is_lost_overrides_nothing_newer():
    async with Workers() as fleet:
        holder, other = await fleet.pair(starts("chat"))
        holder.store.cut()
        holder["chat"].stop()
        await asyncio.sleep(3 * LEASE)
        # The other one has taken over and begun again; it was stopped and started since.
        other["chat"].stop()
        await other["chat"].wait_stopped()
        other["chat"].start()
        await other["chat"].wait_started()
        holder.store.restore()
        await asyncio.sleep(3 * LEASE)
        assert fleet.record("chat").wish.run
        assert (fleet.tail("chat").session, fleet.tail("chat").is_live) == (3, True)


@virtual
async def test_no_more_than_its_capacity():
    names = [f"chat{number}" for number in range(10)]
    async with Workers(names) as fleet:
        small = fleet.join(capacity=3)
        await asyncio.sleep(SETTLE + 3)
        assert len(small.worker.held) == 3
        large = fleet.join()
        await asyncio.sleep(SETTLE + 3)
        assert len(large.worker.held) == 7


@virtual
async def test_only_what_it_has_settings_for():
    async with Workers(("a", "b")) as fleet:
        only_a = fleet.join(names=("a",))
        only_b = fleet.join(names=("b",))
        await asyncio.sleep(SETTLE + 3)
        assert (only_a.worker.held, only_b.worker.held) == (("a",), ("b",))


@virtual
async def test_what_is_removed_is_let_go_and_claimed_no_more():
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"))
        await hand.project.remove_websocket("chat")
        await asyncio.sleep(1)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened", "Closing", "Stopped"]
        assert fleet.record("chat").holder is None
        assert hand.worker.held == ()
        local = hand.project.add_websocket("chat", "ws://test/")
        local.start()
        await local.wait_started()
        assert fleet.kinds("chat")[-1] == "Stopped"


@virtual
async def test_leaving_without_the_store_ends_with_the_lease():
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"))
        fleet.engine.stop()
        began = asyncio.get_running_loop().time()
        await hand.leave()
        assert asyncio.get_running_loop().time() - began <= LEASE
        assert hand.kinds("chat") == ["Connecting", "Opened", "Closing", "ErrorEvent"]


@virtual
async def test_the_store_may_be_away_for_less_than_a_lease():
    async with Workers() as fleet:
        await fleet.pair(starts("chat"))
        fleet.engine.stop()
        await asyncio.sleep(LEASE / 2)
        fleet.engine.start()
        await asyncio.sleep(2 * LEASE)
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened"]


@virtual
async def test_a_store_that_is_full_is_told_once_and_what_waits_goes_on_later():
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"), lease=60.0)
        fleet.engine.is_full = True
        hand["chat"].stop()
        await asyncio.sleep(5)
        # Stopped is not told before the log has it.
        assert hand.kinds("chat") == ["Connecting", "Opened", "Closing", "ErrorEvent"]
        assert "takes nothing" in hand.events[-1].message
        hand["chat"].start()
        await asyncio.sleep(5)
        fleet.engine.is_full = False
        assert (await hand["chat"].wait_stopped()).session == 1
        await asyncio.sleep(1)
        assert hand.kinds("chat")[4:] == ["Stopped", "ErrorEvent"]
        assert hand.events[-1].phase == "connect"
        assert fleet.kinds("chat")[3:] == ["Closing", "ErrorEvent", "Stopped", "ErrorEvent"]


@virtual
async def test_a_lease_that_finds_no_room_is_told_once(caplog):
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"))
        fleet.engine.is_full = True
        await asyncio.sleep(3 * LEASE)
        assert not hand.worker.is_joined
        fleet.engine.is_full = False
        await asyncio.sleep(3 * LEASE)
        assert fleet.kinds("chat")[-2:] == ["Connecting", "Opened"]
    assert len([line for line in caplog.messages if "cannot be written" in line]) == 1


@virtual
async def test_what_is_sent_elsewhere_goes_to_the_holder():
    async with Workers() as fleet:
        holder, other = await fleet.pair(starts("chat"))
        sent = await other["chat"].send("hello")
        assert isinstance(sent, Sent)
        assert holder.transport.peer.received == ["hello"]


@virtual
async def test_a_record_that_the_store_has_lost_is_made_again():
    async with Workers() as fleet:
        hand = await fleet.joined(starts("chat"))
        fleet.engine.records.write("chat", None, fleet.engine.records.values["chat"].revision)
        fleet.engine.tell()
        await asyncio.sleep(1)
        # What was wished is lost, and the session with it.
        assert fleet.kinds("chat") == ["Held", "Connecting", "Opened", "Held", "Stopped"]
        assert fleet.record("chat").holder == hand.worker.id
        hand["chat"].start()
        assert (await hand["chat"].wait_started()).session == 2
