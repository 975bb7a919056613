"""Deadlines of many, on the timers of whatever loop there is."""

from __future__ import annotations

import asyncio

import pytest

from rxnodes.rx.event_loops import new_event_loop
from rxnodes.websocket.deadlines import Deadlines

#: Seconds: uvloop gives a handle without `when()` for what is due so soon.
AT_ONCE = 0.0003


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, new_event_loop], ids=["asyncio", "uvloop where it is"])
def test_what_is_due_at_once_is_told(make_loop):
    async def main():
        told = []
        is_done = asyncio.Event()

        def tell(waiter):
            deadlines.remove(waiter[0], waiter)
            told.append(waiter)
            if len(told) == 3:
                is_done.set()

        deadlines = Deadlines(tell)
        for waiter in ((AT_ONCE, "first"), (AT_ONCE / 2, "sooner"), (0.01, "later")):
            deadlines.add(waiter[0], waiter)
        async with asyncio.timeout(20):
            await is_done.wait()
        return told

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert [name for _, name in runner.run(main())][-1] == "later"
