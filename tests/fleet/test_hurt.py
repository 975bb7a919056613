"""A fleet of real processes on real servers is hurt at random: four seconds of `python -m benchmarks.hurt`.

To hurt it again in the same order: HURT_SEED=<seed> python -m pytest tests/fleet/test_hurt.py
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections import defaultdict
from types import SimpleNamespace

import pytest
from fleet.hurt import Hurt
from fleet.hurt_account import Account
from fleet.nats_servers import is_there

from rxnodes.fleet.rules.values import Entry, Tail
from rxnodes.fleet.store import StoreError
from rxnodes.testing.events import closing, connecting, opened, stopped


@is_there
@pytest.mark.slow(first=True)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", [1, 3])
async def test_a_fleet_that_is_hurt_keeps_its_log(tmp_path, servers):
    seed = int(os.environ.get("HURT_SEED") or random.randrange(10**6))
    print("seed", seed)
    async with Hurt(tmp_path, seed, servers=servers, workers=3, connections=8) as hurt:
        account = await hurt.run(seconds=4)
    assert not account.problems, str(account)
    assert account.sessions > 1
    assert account.said
    assert account.delivered


@is_there
@pytest.mark.slow(first=True)
@pytest.mark.timeout(300)
async def test_no_session_ends_where_leaders_of_three_servers_are_killed(tmp_path):
    async with Hurt(tmp_path, 1, servers=3, workers=2, connections=6, lease=15.0) as hurt:
        for name in hurt.names:
            hurt.wish(name, run=True)
        await hurt.reached()
        killed = await leader_of_all(hurt)
        killed.kill()
        await hurt.led()
        # Longer than a renewal takes, which the next leaders must have taken.
        await asyncio.sleep(hurt.lease / 6)
        await killed.start()
        await hurt.led()
        assert not hurt.problems
        for name in hurt.names:
            assert [it.kind for it in hurt.log.entries[name] if it.event is not None] == ["Connecting", "Opened"]
        assert hurt.site.open == dict.fromkeys(hurt.names, 1)
        # Whoever holds them can still be told.
        await hurt.stop_all()
        account = Account(hurt)
    assert not account.problems, str(account)


async def leader_of_all(hurt):
    """The server that leads the leases, the records and the log, once one does: by chance, so it is voted for again."""
    layout = hurt.store._layout
    chosen = await hurt.nats.leader(hurt.store, layout.leases)
    for place in (layout.records, layout.log):
        while await hurt.nats.leader(hurt.store, place) is not chosen:
            # While they vote, none steps down.
            with contextlib.suppress(StoreError):
                await hurt.store._jetstream.api(f"STREAM.LEADER.STEPDOWN.{place.stream}")
    return chosen


# --- The account finds what must not be -------------------------------------------------------------------------------


def entries(*told):
    """The log of one connection: of each entry the worker, the epoch and the event, `None` for `Held`."""
    return [
        Entry(worker, event, Tail(epoch=epoch, last_id=str(number)))
        for number, (worker, epoch, event) in enumerate(told)
    ]


SESSION = [(event(session=1)) for event in (connecting, opened, closing, stopped)]
RIGHT = [
    ("a", 1, None),
    *(("a", 1, event) for event in SESSION),
    ("b", 2, None),
    ("b", 2, connecting(session=2)),
    ("b", 2, stopped(session=2)),
]


def message(session, worker, at, pid=1):
    return {"session": session, "worker": worker, "pid": pid, "at": at, "heard": at, "name": "c0", "kind": "message"}


def account_of(log=RIGHT, said=(), notes=(), gaps=(), seen=None):
    reader = SimpleNamespace(entries={"c0": entries(*log)}, gaps=gaps)
    site = SimpleNamespace(said=defaultdict(list, c0=list(said)))
    worker = SimpleNamespace(name="a", notes=lambda: list(notes))
    seen = {"c0": [event for _, _, event in log if event is not None] if seen is None else seen}
    return Account(SimpleNamespace(log=reader, site=site, names=["c0"], workers=[worker], problems=[], seen=seen))


def test_it_finds_nothing_where_nothing_is_wrong():
    seen = [message(1, "a", 1.0), message(1, "a", 2.0), message(2, "b", 3.0), message(3, "a", 4.0)]
    account = account_of(said=seen, notes=seen)
    assert account.problems == []
    assert (account.sessions, account.said, account.delivered) == (2, 4, 4)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"log": RIGHT[:-1]}, "session 2 has not ended"),
        ({"log": [*RIGHT, RIGHT[-1]]}, "Stopped of session 2 while 0 is live"),
        ({"log": RIGHT[:4] + RIGHT[5:]}, "Connecting of session 2 while 1 is live"),
        ({"log": [("b", 1, None), *RIGHT]}, "wrote in epoch 1"),
        ({"log": [*RIGHT, ("a", 1, None)]}, "epochs go back"),
        ({"log": [*RIGHT, ("b", 2, connecting(session=2)), ("b", 2, stopped(session=2))]}, "session 2 begins behind 2"),
        ({"said": [message(1, "a", 1.0), message(2, "b", 2.0), message(1, "a", 3.0)]}, "said: .* again behind"),
        ({"notes": [message(1, "a", 1.0), message(1, "a", 2.0, pid=2)]}, "delivered: .* behind"),
        ({"notes": [{"kind": "Stopped", "name": "c0", "session": 1, "pid": 1}] * 2}, "told 2 ends"),
        ({"gaps": ["it went back"]}, "gaps"),
        ({"seen": SESSION}, r"an observer saw .* where .*Connecting', 2"),
        ({"seen": [*SESSION, connecting(session=2), stopped(session=1)]}, "an observer saw"),
    ],
)
def test_it_finds_what_is_wrong(wrong, says):
    assert re.search(says, "; ".join(account_of(**wrong).problems))
