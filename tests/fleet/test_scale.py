"""The model of a very large fleet, against the rules themselves in a world of a size that can be played."""

from __future__ import annotations

from statistics import fmean

import pytest
from fleet.rules.world import LEASE, SETTLE, World

from rxnodes.fleet.rules.values import Wish

pytest.importorskip("numpy")

from benchmarks.fleet_model import Costs
from benchmarks.fleet_scale import Simulation

WORKERS = 4
NAMES = tuple(f"c{number}" for number in range(60))
SEEDS = range(8)
#: By so much of a lease the model may be wrong, on average.
MARGIN = 0.1
#: The world as the model has it: nothing costs CPU, a way takes 2.25 ms on average.
WORLD = {"lease": LEASE, "settle": SETTLE, "tick": LEASE / 32, "hop": 0.00225, "record": 0.0, "append": 0.0}
FREE = dict.fromkeys(("claim", "begin", "takeover", "stop", "watch", "weigh", "deliver"), 0.0)


def opened(seed):
    world = World(seed, NAMES)
    wishes = {name: Wish(run=True, id=f"wish {name}") for name in NAMES}
    for _ in range(WORKERS):
        world.join(wishes=wishes)
    took = world.run_until(lambda: is_done(world), 5 * LEASE)
    return world, took


def is_done(world):
    return len(world.store.records) == len(NAMES) and world.is_settled()


def lose(world):
    world.run(world.random.uniform(0, LEASE))
    busiest(world).is_dead = True


def drain(world):
    worker = busiest(world)
    worker.later(0, lambda: worker.member.drain(worker.now))


def stop(world):
    for name in NAMES:
        world.command(name, "stop")


def busiest(world):
    return max(world.workers, key=lambda worker: len(worker.held))


@pytest.mark.parametrize(
    ("happens", "scenario", "dial", "changes"),
    [
        # The longest of many dials or ends, which take up to 0.1 s and 0.3 s there.
        pytest.param(None, Simulation.open_all, 0.1, 1, id="open all"),
        pytest.param(lose, lambda it: it.lost(1, "lost"), 0.1, 1, id="one lost"),
        pytest.param(stop, Simulation.stop_all, 0.3, 1, id="stop all"),
    ],
)
def test_the_model_takes_as_long_as_the_rules_do(happens, scenario, dial, changes):
    costs = Costs(**WORLD, **FREE, dial=dial)
    played, modelled = [], []
    for seed in SEEDS:
        world, took = opened(seed)
        if happens is not None:
            held, before = len(busiest(world).held), len(world.store.record_changes)
            happens(world)
            took = world.run_until(lambda world=world: is_done(world), 5 * LEASE)
            moved = len(NAMES) if happens is stop else held
            assert len(world.store.record_changes) - before == changes * moved, "a change for each connection"
        played.append(took)
        found = scenario(Simulation(len(NAMES), WORKERS, 0, costs, seed))
        assert found.messages == found.done, "each change is shown to each worker"
        modelled.append(found.took)
    print(played, modelled)
    assert fmean(modelled) == pytest.approx(fmean(played), abs=MARGIN * LEASE)
