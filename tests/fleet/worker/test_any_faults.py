"""Real workers on a store that loses, delays and doubles what is written: any sequence of faults keeps the rules."""

from __future__ import annotations

import asyncio
from itertools import count
from random import Random

import pytest
from fleet.memory_store import Chance
from fleet.rules.world import Line, check_line, is_reached
from fleet.worker.workers import LEASE, SETTLE, Workers
from virtual import virtual

from rxnodes import pulse
from rxnodes.fleet.reading import record_at
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.rules.member import Member
from rxnodes.websocket import all_stopped, client_start

NAMES = [f"chat{number}" for number in range(6)]
ROUNDS = 40


def build(project):
    for name in NAMES:
        project.subscribe(pulse().pipe(client_start(project.websocket(name))))


class Storm:
    """A fleet, and all that happens to it, from one seed."""

    def __init__(self, fleet, seed):
        self.fleet = fleet
        self.random = Random(seed)
        self.store = fleet.engine.store()
        self.outside = Fleet(self.store)

    def join(self):
        self.fleet.join(build, script=self.serve)

    def serve(self, peer):
        """Only one worker at a time may have a connection to a server."""
        url = peer.target.url
        assert not [it for hand in self.fleet.hands for it in self.open_peers(hand) if it.target.url == url]
        if self.random.random() < 0.1:
            peer.refuse(503)
        else:
            peer.accept()

    def open_peers(self, hand):
        return [peer for peer in hand.transport.peers if peer._is_open and not peer.is_lost]

    async def happen(self):
        random, hands = self.random, self.fleet.hands
        hand = random.choice(hands)
        what = random.choice(
            ["command"] * 6
            + ["cut"] * 3
            + ["restore"] * 3
            + ["outside", "ask"] * 2
            + ["engine", "faults", "leave", "close"]
        )
        if what == "command" and hand.worker is not None and hand.worker.is_running:
            self.command(hand[random.choice(NAMES)])
        elif what == "ask" and hand.worker is not None:
            all_stopped(hand[random.choice(NAMES)]).subscribe()
        elif what == "outside":
            random.choice([self.store.cut, self.store.restore, lambda: self.command(self.outside_one())])()
        elif what == "cut":
            hand.store.cut()
        elif what == "restore":
            hand.store.restore()
        elif what == "engine":
            self.fleet.engine.stop()
            await asyncio.sleep(random.choice([0.1, LEASE / 2, 2 * LEASE]))
            self.fleet.engine.start()
        elif what == "faults":
            for each in hands:
                each.store.faults = Chance(random.randrange(1000), random.choice([0.0, 0.1, 0.3]))
        elif what == "leave" and len(hands) > 2:
            hand.store.restore()
            await hand.leave()
            hands.remove(hand)
            self.join()
        elif what == "close" and self.open_peers(hand):
            random.choice(self.open_peers(hand)).close(1001, "away")
        await asyncio.sleep(random.choice([0.0, 0.05, 0.5, 2.0]))

    def command(self, connection):
        self.random.choice([connection.start, connection.stop])()

    def outside_one(self):
        return self.outside.websocket(self.random.choice(NAMES))

    async def calm(self):
        self.store.restore()
        for hand in self.fleet.hands:
            hand.store.faults = ()
            hand.store.restore()
        async with asyncio.timeout(2 * LEASE + SETTLE + 4):
            while not all(self.is_calm(name) for name in NAMES):
                await asyncio.sleep(0.1)

    async def asked(self, name):
        """Whether no session is live, says everybody who is asked."""
        ends = [[] for _ in self.fleet.hands]
        for hand, told in zip(self.fleet.hands, ends, strict=True):
            all_stopped(hand[name]).subscribe(told.append)
        await asyncio.sleep(0.5)
        return {bool(told) for told in ends}

    def is_calm(self, name):
        record, _ = record_at(self.fleet.engine.records.values.get(name))
        tail = self.fleet.tail(name)
        holding = [hand for hand in self.fleet.hands if hand.worker is not None and name in hand.worker.held]
        peers = [it for hand in self.fleet.hands for it in self.open_peers(hand) if it.target.url.endswith(name)]
        is_reached_by_all = len(holding) == 1 and is_reached(record.wish, tail) and len(peers) == tail.is_live
        return is_reached_by_all and self.is_known(name, holding[0], is_live=tail.is_live)

    def is_known(self, name, holder, *, is_live):
        """Whether everybody knows it: who holds it, who has commanded anything, and who is outside."""
        others = [hand for hand in self.fleet.hands if hand is not holder and hand[name].is_live]
        seen = {holder[name].is_live, self.outside.websocket(name).is_live}
        return seen == {is_live} and (is_live or not others)


@pytest.fixture
def _same_ids(monkeypatch):
    """What has an id by chance has the same one each time: connections are shared out by it."""
    numbers = count()
    named = lambda _, *rest, **more: Member(f"w{next(numbers)}", *rest, **more)  # noqa: E731
    monkeypatch.setattr("rxnodes.fleet.worker.worker.Member", named)


@pytest.mark.slow(but_every=10)
@pytest.mark.parametrize("seed", [*range(20), 215, 443, 1507])  # the last ones have found something
@pytest.mark.usefixtures("_same_ids")
@virtual
async def test_any_faults(seed):
    async with Workers(NAMES) as fleet:
        storm = Storm(fleet, seed)
        async with storm.outside:
            for name in NAMES:
                storm.outside.websocket(name)
            for _ in range(3):
                storm.join()
            for _ in range(ROUNDS):
                await storm.happen()
            await storm.calm()
            for name in NAMES:
                assert await storm.asked(name) == {not fleet.tail(name).is_live}
                line = Line(entries=[(number, entry) for number, entry in enumerate(fleet.entries(name), 1)])
                check_line(line, is_live=fleet.tail(name).is_live)
