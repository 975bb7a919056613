"""Real workers on a store that loses, delays and doubles what is written: any sequence of faults keeps the rules."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from fleet.memory_store import Chance
from fleet.rules.world import Line, check_line
from fleet.worker.workers import LEASE, SETTLE, Workers
from virtual import virtual

from rxnodes import pulse
from rxnodes.fleet.rules.commands import is_reached
from rxnodes.fleet.rules.values import Record
from rxnodes.websocket import client_start

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
        what = random.choice(["command"] * 6 + ["cut"] * 3 + ["restore"] * 3 + ["engine", "faults", "leave", "close"])
        if what == "command" and hand.worker is not None and hand.worker.is_running:
            connection = hand[random.choice(NAMES)]
            random.choice([connection.start, connection.stop])()
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

    async def calm(self):
        for hand in self.fleet.hands:
            hand.store.faults = ()
            hand.store.restore()
        async with asyncio.timeout(2 * LEASE + SETTLE + 4):
            while not all(self.is_calm(name) for name in NAMES):
                await asyncio.sleep(0.1)
        # What has begun opens.
        await asyncio.sleep(1)

    def is_calm(self, name):
        stands = self.fleet.engine.records.values.get(name)
        record = Record() if stands is None else self.fleet.record(name)
        holding = [hand for hand in self.fleet.hands if hand.worker is not None and name in hand.worker.held]
        return len(holding) == 1 and is_reached(record.wish, self.fleet.tail(name))


@pytest.mark.slow(but_every=10)
@pytest.mark.parametrize("seed", range(20))
@virtual
async def test_any_faults(seed):
    async with Workers(NAMES) as fleet:
        storm = Storm(fleet, seed)
        for _ in range(3):
            storm.join()
        for _ in range(ROUNDS):
            await storm.happen()
        await storm.calm()
        for name in NAMES:
            line = Line(entries=[(number, entry) for number, entry in enumerate(fleet.entries(name), 1)])
            is_live = fleet.tail(name).is_live
            check_line(line, is_live=is_live)
            assert (
                sum(peer.target.url.endswith(name) for hand in fleet.hands for peer in storm.open_peers(hand))
                == is_live
            )
