"""A simulation of a very large fleet: `python -m benchmarks.fleet_scale`.

A million connections on a thousand workers, where every worker watches the records of all, as workers do, against
workers that watch only the shards for which they are first or second. Such workers are not built: this shows what they
would gain. It is a model, see `benchmarks.fleet_model`; what it cannot know, it leaves out: faults, other load, and
servers that slow down under load.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks import say
from benchmarks.fleet_model import EVERYTHING, Costs, Fleet
from rxnodes.fleet.rules.lease import RENEWALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fleet_model import Load, Steps

__all__ = ["Found", "Simulation", "main"]

CONNECTIONS: Final = 1_000_000
WORKERS: Final = 1_000
#: So many as the plan had, and so many that shares come out more even.
SHARDS: Final = (1_024, 16_384)
#: The seed of chance.
SEED: Final = 17
#: Those who watch a shard: its first, and its second.
WATCHERS: Final = 2
#: So many seconds behind the lease the last connection of a lost worker is promised to be open again.
PROMISE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one scenario.

    Attributes:
        scenario: Its name.
        took: Seconds until the last connection was where it was meant to be.
        done: How many there were.
        messages: Changes of records shown to a worker, on average.
        cpu: Seconds of CPU of a worker, on average.
        most: Of the busiest worker.
        lag: Seconds by which the watches were late at most.
        still: Seconds for which a worker stood still at most.
        loses_leases: Whether that was longer than its lease lets it.
        alive: How many workers were there.
        load: What was asked for in each second.
    """

    scenario: str
    took: float
    done: int
    messages: float
    cpu: float
    most: float
    lag: float
    still: float
    loses_leases: bool
    alive: int
    load: Load

    def peak(self, series: dict[int, float]) -> float:
        """The most of it in one second, for each worker on average."""
        return max(series.values(), default=0.0) / self.alive


class Simulation:
    """A fleet of some size, and what happens to it.

    Args:
        connections: How many.
        workers: How many.
        shards: How many; 0: every worker watches everything.
        costs: What things take.
        seed: Of chance.
    """

    def __init__(
        self, connections: int, workers: int, shards: int, costs: Costs | None = None, seed: int = SEED
    ) -> None:
        self.costs = Costs() if costs is None else costs
        self.workers = workers
        self._shards = shards
        self._rng = np.random.default_rng(seed)
        self._ranks: dict[bytes, np.ndarray] = {}
        every = np.ones(workers, dtype=bool)
        if shards:
            self._sizes = _dealt(self._rng, connections, shards)
            # As rendezvous hashing deals, of which chance is the model.
            self._weights = self._rng.random((shards, workers))
            ranked = self._ranked(every)
            self.held = np.bincount(ranked[:, 0], weights=self._sizes, minlength=workers).astype(int)
        else:
            self.held = _dealt(self._rng, connections, workers)

    def _ranked(self, alive: np.ndarray) -> np.ndarray:
        """The first and the second of each shard."""
        key = alive.tobytes()
        if key not in self._ranks:
            weights = np.where(alive, self._weights, -1.0)
            first = weights.argmax(axis=1)
            weights[np.arange(len(first)), first] = -1.0
            self._ranks[key] = np.stack([first, weights.argmax(axis=1)], axis=1)
        return self._ranks[key]

    def all_scenarios(self) -> list[Found]:
        """What happens, each to a fleet that is whole."""
        tenth = max(1, self.workers // 10)
        return [
            self.open_all(),
            self.lost(),
            self.lost(tenth, "a tenth of the workers lost"),
            self.drain(),
            self.stop_all(),
        ]

    def open_all(self) -> Found:
        """All workers have joined, and claim what nobody holds; each claim has the wish to begin."""
        alive = np.ones(self.workers, dtype=bool)
        fleet = self._fleet(alive)
        begun = self.costs.settle
        if self._shards:
            fleet.at(begun, self._weigh(fleet, begun, self._shards))
            for shard, (worker, _) in enumerate(self._ranked(alive)):
                fleet.at(begun, fleet.share(int(worker), shard, int(self._sizes[shard]), fleet.begin))
        else:
            fleet.at(begun, self._weigh(fleet, begun, int(self.held.sum())))
            for worker, number in enumerate(self.held):
                fleet.at(begun, fleet.share(worker, EVERYTHING, int(number), fleet.begin))
        return self._found("open all", fleet)

    def lost(self, number: int = 1, scenario: str = "one worker lost") -> Found:
        """So many workers die at once: any, or the one that holds the most."""
        alive = np.ones(self.workers, dtype=bool)
        if number == 1:
            alive[self.held.argmax()] = False
        else:
            alive[self._rng.choice(self.workers, number, replace=False)] = False
        fleet = self._fleet(alive)
        for worker in np.flatnonzero(~alive):
            over, claims = fleet.claims_at(self._rng)
            if self._shards:
                self._inherit(fleet, int(worker), alive, claims)
            else:
                fleet.at(over, self._weigh(fleet, over, int(self.held[worker])))
                shares = self._dealt_among(alive, int(self.held[worker]))
                for heir in np.flatnonzero(shares):
                    fleet.at(claims[heir], fleet.share(int(heir), EVERYTHING, int(shares[heir]), fleet.succeed))
        return self._found(scenario, fleet)

    def _inherit(self, fleet: Fleet, worker: int, alive: np.ndarray, claims: np.ndarray) -> None:
        """The shards of a dead worker: who was second has watched them, any other must begin to."""
        before, after = self._ranked(np.ones(self.workers, dtype=bool)), self._ranked(alive)
        for shard in np.flatnonzero((before == worker).any(axis=1)):
            size = int(self._sizes[shard])
            first, second = (int(it) for it in after[shard])
            late = 0.0
            for newcomer in {first, second} - set(before[shard].tolist()):
                fleet.at(claims[newcomer], self._load(fleet, newcomer, size))
                if newcomer == first:
                    late = 4 * self.costs.hop + size * max(self.costs.watch, self.costs.deliver) + self.costs.tick
            if before[shard][0] == worker:
                fleet.at(claims[first] + late, fleet.share(first, int(shard), size, fleet.succeed))

    def _load(self, fleet: Fleet, worker: int, size: int) -> Steps:
        """A worker begins to watch a shard: it is shown all records of it."""
        fleet.load.add(fleet.load.messages, fleet.now, size)
        yield fleet.work(worker, size * self.costs.watch)

    def drain(self) -> Found:
        """The worker that holds the most is told to leave: its sessions end, it lets go, and others begin the next."""
        alive = np.ones(self.workers, dtype=bool)
        worker = int(self.held.argmax())
        alive[worker] = False
        fleet = self._fleet(alive)
        if self._shards:
            before, after = self._ranked(np.ones(self.workers, dtype=bool)), self._ranked(alive)
            for shard in np.flatnonzero(before[:, 0] == worker):
                fleet.at(
                    0.0, self._move(fleet, worker, int(shard), int(self._sizes[shard]), {int(after[shard][0]): 1.0})
                )
        else:
            others = dict.fromkeys(np.flatnonzero(alive).tolist(), 1.0 / (self.workers - 1))
            fleet.at(0.0, self._move(fleet, worker, EVERYTHING, int(self.held[worker]), others))
        return self._found("drain of one", fleet)

    def _move(self, fleet: Fleet, worker: int, shard: int, number: int, heirs: dict[int, float]) -> Steps:
        yield from fleet.end(worker, number)
        yield fleet.write(number)  # let go
        yield fleet.show(shard, number)
        if shard == EVERYTHING:
            fleet.weigh(number)
        shares = self._rng.multinomial(number, list(heirs.values()))
        for heir, share in zip(heirs, shares, strict=True):
            if share:
                looks = fleet.now + self._rng.uniform(0, self.costs.tick)
                fleet.at(looks, fleet.share(heir, shard, int(share), fleet.begin))

    def stop_all(self) -> Found:
        """All are told to stop, from outside: each record gets the wish, and its holder ends the session."""
        alive = np.ones(self.workers, dtype=bool)
        fleet = self._fleet(alive)
        if self._shards:
            for shard, (worker, _) in enumerate(self._ranked(alive)):
                self._stop(fleet, int(worker), shard, int(self._sizes[shard]))
        else:
            for worker, number in enumerate(self.held):
                self._stop(fleet, worker, EVERYTHING, int(number))
        return self._found("stop all", fleet)

    def _stop(self, fleet: Fleet, worker: int, shard: int, number: int) -> None:
        def steps(batch: int) -> Steps:
            yield fleet.write(batch)
            yield fleet.show(shard, batch)
            yield from fleet.end(worker, batch)
            fleet.ended(batch)

        for begun in range(0, number, 50):
            # In any order, as the commands come.
            fleet.at(self._rng.uniform(0, 1e-3), steps(min(50, number - begun)))

    # The rest

    def _fleet(self, alive: np.ndarray) -> Fleet:
        return Fleet(self.costs, alive, self._ranked(alive) if self._shards else None)

    def _dealt_among(self, alive: np.ndarray, number: int) -> np.ndarray:
        return self._rng.multinomial(number, alive / alive.sum())

    def _weigh(self, fleet: Fleet, at: float, number: int) -> Steps:
        fleet.weigh(number)
        yield at

    def _found(self, scenario: str, fleet: Fleet) -> Found:
        fleet.run()
        alive = int(fleet.alive.sum())
        return Found(
            scenario=scenario,
            took=fleet.last,
            done=fleet.done,
            messages=sum(fleet.load.messages.values()) / alive,
            cpu=float(fleet.spent[fleet.alive].mean()),
            most=float(fleet.spent[fleet.alive].max()),
            lag=fleet.lag,
            still=fleet.still,
            loses_leases=fleet.loses_leases,
            alive=alive,
            load=fleet.load,
        )


def _dealt(rng: np.random.Generator, number: int, among: int) -> np.ndarray:
    return rng.multinomial(number, np.full(among, 1 / among))


# --- What is said -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs as the command line asks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet_scale", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--shards", type=int, nargs="+", default=SHARDS, help="how many shards, one or more")
    parser.add_argument("--svg", type=Path, help="where to draw it")
    options = parser.parse_args(arguments)
    title = f"{options.connections:,} connections on {options.workers:,} workers, by a model"
    found: dict[str, list[Found]] = {}
    say(title)
    for shards in (0, *options.shards):
        simulation = Simulation(options.connections, options.workers, shards)
        way = f"watch their shares of {shards:,} shards (not built)" if shards else "watch everything, as workers do"
        say(f"\nworkers {way}")
        say(f"  each holds {_spread(simulation.held)}")
        _say_leases(simulation)
        found[way] = simulation.all_scenarios()
        for one in found[way]:
            say("  " + _line(one, simulation.costs))
    if options.svg is not None:
        from benchmarks.fleet_scale_plot import plot  # noqa: PLC0415 - matplotlib takes long to import

        plot(found, options.svg, title, promise=Costs().lease + PROMISE)


def _spread(held: np.ndarray) -> str:
    low, middle, high = np.percentile(held, [1, 50, 99])
    none = float((held == 0).mean())
    return (
        f"{low:,.0f} to {high:,.0f} connections (1st and 99th percentile; median {middle:,.0f}; {none:.0%} hold none)"
    )


def _say_leases(simulation: Simulation) -> None:
    costs, workers = simulation.costs, simulation.workers
    renewals = workers * RENEWALS / costs.lease
    say(
        f"  leases alone, always: {renewals:,.0f} messages/s and {renewals * costs.watch:.1%} of a CPU a worker, "
        f"{renewals * workers * costs.deliver:.1f} CPUs of the servers"
    )


def _line(found: Found, costs: Costs) -> str:
    text = (
        f"{found.scenario}: {found.done:,} in {found.took:,.1f} s; for each worker {found.messages:,.0f} messages and "
        f"{found.cpu:,.1f} s of CPU, {found.most:,.1f} s for the busiest; in the worst second "
        f"{found.peak(found.load.messages):,.0f} messages and {found.peak(found.load.cpu):,.2f} s asked of each; "
        f"watches up to {found.lag:,.1f} s late"
    )
    if "lost" in found.scenario:
        text += f"; promised within {costs.lease + PROMISE:g} s"
    if found.loses_leases:
        text += (
            f"; workers stand still for up to {found.still:,.0f} s, and so would lose their leases: this does not work"
        )
    return text


if __name__ == "__main__":
    main()
