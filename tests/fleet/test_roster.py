"""The workers of a fleet, for the live page."""

from __future__ import annotations

from fleet.memory_store import MemoryEngine
from fleet.remote.scribe import settled

from rxnodes.fleet.letters import lease_letter, record_letter
from rxnodes.fleet.roster import Roster
from rxnodes.fleet.rules.values import Lease, Record
from rxnodes.testing import in_virtual_time


class Staff:
    """Writes leases and records."""

    def __init__(self, store):
        self.store = store
        self._leases = {}
        self._records = {}

    async def renew(self, worker, number, **more):
        lease = Lease(worker=worker, number=number, **more)
        self._leases[worker] = await self.store.put_lease(worker, lease_letter(lease), self._leases.get(worker, 0))
        await settled()

    async def hold(self, name, holder):
        letter = record_letter(Record(holder=holder))
        self._records[name] = await self.store.write_record(name, letter, self._records.get(name, 0))
        await settled()


@in_virtual_time
async def test_it_tells_leases_holders_and_takeovers():
    engine = MemoryEngine()
    store, seen = engine.store(), engine.store()
    await store.open()
    staff = Staff(store)
    await staff.renew("old", 7, host="here", seconds=10.0, capacity=5, held=2)
    for name in ("a", "b"):
        await staff.hold(name, "old")
    roster = Roster(seen)
    assert roster.told() == {"current": False, "workers": [], "holders": {}, "takeovers": []}
    async with roster:
        await settled()
        [old] = roster.told()["workers"]
        at = old.pop("renewed_at")
        # A lease that was there before may be that of a dead worker.
        assert old == {
            "id": "old",
            "host": "here",
            "held": 2,
            "capacity": 5,
            "draining": False,
            "alive": False,
            "lease": 10.0,
        }
        await staff.renew("old", 8)
        await staff.renew("new", 1, is_draining=True)
        new, old = roster.told()["workers"]
        assert (old["alive"], new["alive"], new["draining"]) == (True, True, True)
        assert old["renewed_at"] > at

        # One is let go, and claimed; the other is taken over.
        await staff.hold("a", None)
        assert roster.told()["holders"] == {"b": "old"}
        await staff.hold("a", "new")
        await staff.hold("b", "new")
        told = roster.told()
        assert told["holders"] == {"a": "new", "b": "new"}
        assert [(it["connection"], it["from"], it["to"]) for it in told["takeovers"]] == [("b", "old", "new")]

        # What is told again behind a gap is neither a renewal nor a takeover.
        renewed = [it["renewed_at"] for it in told["workers"]]
        seen.cut()
        await settled()
        assert not roster.told()["current"]
        seen.restore()
        await settled()
        told = roster.told()
        assert (told["current"], len(told["takeovers"])) == (True, 1)
        assert [it["renewed_at"] for it in told["workers"]] == renewed


@in_virtual_time
async def test_who_came_back_under_a_new_id_is_not_shown_under_the_old_one():
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    staff = Staff(store)
    async with Roster(engine.store()) as roster:
        for worker in ("h-1-a-1", "h-1-a-9", "h-1-b-1", "h-1-a-10"):
            await staff.renew(worker, 1, seconds=5.0)
        await settled(10)
        await staff.renew("h-1-a-10", 2, seconds=5.0)
        told = [(it["id"], it["alive"]) for it in roster.told()["workers"]]
        assert told == [("h-1-a-10", True), ("h-1-b-1", False)]
