"""The model of a very large fleet, against the rules themselves in a world of a size that can be played."""

from __future__ import annotations

from statistics import fmean

import pytest
from fleet.rules.world import LEASE, SETTLE, World

from rxnodes.fleet.rules.values import Wish

pytest.importorskip("numpy")

from benchmarks.fleet_model import Costs
from benchmarks.fleet_scale import WATCHERS, Simulation

WORKERS = 4
NAMES = tuple(f"c{number}" for number in range(60))
SEEDS = range(8)
#: By so much of a lease the model may be wrong, on average.
MARGIN = 0.12
#: Nothing costs CPU in the world, and a way takes 2.25 ms on average.
FREE = dict.fromkeys(("record", "append", "claim", "begin", "takeover", "stop", "watch", "weigh", "deliver"), 0.0)
#: A dial takes up to 0.1 s there, and an end up to 0.3 s; the longest of many counts.
COSTS = Costs(lease=LEASE, settle=SETTLE, tick=LEASE / 32, hop=0.00225, dial=0.1, close=0.3, **FREE)


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
    worker.turn(lambda: worker.member.drain(worker.now))


def stop(world):
    for name in NAMES:
        world.command(name, "stop")


def busiest(world):
    return max(world.workers, key=lambda worker: len(worker.held))


@pytest.mark.slow(but_every=4)
@pytest.mark.parametrize(
    ("happens", "scenario", "changes"),
    [
        pytest.param(None, Simulation.open_all, 1, id="open all"),
        pytest.param(lose, Simulation.lost, 1, id="one worker lost"),
        pytest.param(drain, Simulation.drain, 2, id="drain of one"),
        pytest.param(stop, Simulation.stop_all, 1, id="stop all"),
    ],
)
def test_the_model_takes_as_long_as_the_rules_do(happens, scenario, changes):
    played, modelled = [], []
    for seed in SEEDS:
        world, took = opened(seed)
        moved, before = len(NAMES), 0
        if happens is not None:
            before = len(world.store.record_changes)
            moved = len(NAMES) if happens is stop else len(busiest(world).held)
            happens(world)
            took = world.run_until(lambda world=world: is_done(world), 5 * LEASE)
        assert len(world.store.record_changes) - before == changes * moved
        played.append(took)
        found = scenario(Simulation(len(NAMES), WORKERS, 0, COSTS, seed))
        assert found.messages == changes * found.done, "each worker is shown each change"
        modelled.append(found.took)
    assert fmean(modelled) == pytest.approx(fmean(played), abs=MARGIN * LEASE)


@pytest.mark.parametrize("shards", [0, 64])
def test_all_connections_get_there_and_two_watch_a_shard(shards):
    simulation = Simulation(5_000, 20, shards)
    opened, one, tenth, drained, stopped = simulation.all_scenarios()
    assert opened.done == stopped.done == simulation.held.sum() == 5_000
    assert one.done == drained.done == simulation.held.max()
    assert tenth.done > one.done
    assert opened.messages == (5_000 * WATCHERS / 20 if shards else 5_000)
