"""Any sequence of faults keeps the rules: many workers, a wicked network, clocks that differ and stop."""

from __future__ import annotations

import pytest
from fleet.rules.world import LEASE, RATES, SETTLE, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rxnodes.fleet.rules.inputs import Drain

pytestmark = pytest.mark.slow


class AnyFaults(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32), rates=st.lists(st.sampled_from(RATES), min_size=1, max_size=3))
    def begin(self, seed, rates):
        self.world = World(seed)
        for rate in rates:
            self.world.join(rate)

    def pick(self, number, *, which=lambda _: True):
        able = [worker for worker in self.world.workers if not worker.is_dead and which(worker)]
        return able[number % len(able)] if able else None

    # Time and commands

    @rule(seconds=st.sampled_from([0.02, 0.2, 0.9, 1.5, 3.0]))
    def wait(self, seconds):
        self.world.run(seconds)

    @rule(name=st.sampled_from("ab"), what=st.sampled_from(["start", "stop"]), looks_back=st.integers(0, 3))
    def command(self, name, what, looks_back):
        self.world.command(name, what, looks_back)

    @rule(name=st.sampled_from("ab"))
    def start(self, name):
        self.world.command(name, "start")

    # Faults

    @rule(faults=st.sampled_from([0.0, 0.1, 0.5]))
    def make_the_store_wicked(self, faults):
        self.world.faults = faults

    @rule(refusing=st.sampled_from([0.0, 0.5]))
    def refuse_dials(self, refusing):
        self.world.refusing = refusing

    @rule(is_up=st.booleans())
    def the_store_goes_or_comes(self, is_up):
        self.world.store.is_up = is_up
        self.world.connections_changed()

    @rule(number=st.integers(0, 5))
    def kill(self, number):
        worker = self.pick(number)
        if worker is not None:
            worker.is_dead = True

    @precondition(lambda self: sum(not worker.is_dead for worker in self.world.workers) < 4)
    @rule(rate=st.sampled_from(RATES), capacity=st.sampled_from([None, 1]))
    def join(self, rate, capacity):
        self.world.join(rate, capacity)

    @rule(number=st.integers(0, 5), seconds=st.sampled_from([0.1, 0.7, 0.9, 1.2, 5.0]))
    def stop_and_continue(self, number, seconds):
        worker = self.pick(number, which=lambda worker: not worker.is_stopped)
        if worker is not None:
            worker.is_stopped = True
            self.world.at(seconds, worker.go_on)

    @rule(number=st.integers(0, 5), seconds=st.sampled_from([0.1, 0.7, 0.9, 1.2, 5.0]))
    def cut_off(self, number, seconds):
        worker = self.pick(number, which=lambda worker: not worker.is_cut)
        if worker is not None:
            worker.is_cut = True
            worker.connection_changed()
            self.world.at(seconds, self.restore, worker)

    def restore(self, worker):
        worker.is_cut = False
        worker.connection_changed()

    @rule(number=st.integers(0, 5), seconds=st.sampled_from([0.5, 1.1, 3.0]))
    def go_blind(self, number, seconds):
        worker = self.pick(number, which=lambda worker: not worker.is_blind)
        if worker is not None:
            worker.go_blind(seconds)

    @rule(number=st.integers(0, 5))
    def drain(self, number):
        worker = self.pick(number)
        if worker is not None:
            worker.later(0, lambda: worker.member.drain(worker.now))

    @rule(number=st.integers(0, 5), name=st.sampled_from("ab"))
    def let_go(self, number, name):
        worker = self.pick(number, which=lambda worker: not worker.is_stopped)
        if worker is not None:
            worker.turn(lambda: worker.feed(name, Drain()))

    @rule(number=st.integers(0, 5), name=st.sampled_from("ab"))
    def the_peer_closes(self, number, name):
        worker = self.pick(number, which=lambda worker: name in worker.locals and worker.locals[name].is_open)
        if worker is not None:
            worker.later(
                0, lambda: worker.close(name, worker.locals[name], "remote") if name in worker.locals else None
            )

    # Promises

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.heal()
        self.world.run(0)
        # There is one that may hold them all.
        self.world.join()
        # A lease by the slowest clock, what a worker waits before it claims, and late answers.
        took = self.world.run_until(self.world.is_settled, 10 * LEASE)
        assert took <= LEASE / min(RATES) + SETTLE + 2.0
        self.world.check_log()


TestAnyFaults = AnyFaults.TestCase
TestAnyFaults.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
