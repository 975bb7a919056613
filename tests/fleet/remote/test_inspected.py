"""The live page and recordings of a fleet that is seen from outside."""

from __future__ import annotations

from fleet.memory_store import MemoryEngine
from fleet.remote.scribe import Scribe, settled

from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.inspector.collector import SAMPLE_EVERY, Collector
from rxnodes.recording import Recorder
from rxnodes.testing import events, in_virtual_time


@in_virtual_time
async def test_the_page_shows_every_connection_that_the_log_tells_of():
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    old, new = Scribe(store, "old"), Scribe(store, "new")
    await old.open()
    fleet = Fleet(engine.store())
    with Collector(fleet) as collector:
        async with fleet:
            await settled()
            assert [(row["name"], row["state"]) for row in collector.rows()] == [("old", "open")]
            await new.open()
            await old.stop(messages_received=7)
            await settled(SAMPLE_EVERY)
            rows = {row["name"]: row for row in collector.rows()}
            assert {name: row["state"] for name, row in rows.items()} == {"old": "closed", "new": "open"}
            assert rows["old"]["messages_received"] == 7
            # Its first event is news, too.
            news = [(it["event"], it["connection"]) for it in collector._events]
            assert news == [("Connecting", "new"), ("Opened", "new"), ("Stopped", "old")]
        await settled()
        assert {row["name"] for row in collector.rows()} == {"old", "new"}


@in_virtual_time
async def test_a_connection_with_gaps_can_be_recorded(tmp_path):
    engine = MemoryEngine()
    store, away = engine.store(), engine.store()
    await store.open()
    scribe = Scribe(store)
    async with Fleet(away) as fleet:
        with Recorder(fleet, tmp_path / "recording") as recorder:
            await scribe.open()
            await settled()
            away.cut()
            await scribe.write(events.closing())
            engine.log.pop()
            await scribe.write(events.stopped())
            away.restore()
            await settled()
        assert recorder.recording.to_marbles() == "(co)s"
