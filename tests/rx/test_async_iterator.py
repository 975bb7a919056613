"""Observables as asynchronous iterators, in virtual time."""

from __future__ import annotations

import asyncio
import gc

import pytest
import reactivex
from consumers import Seen, Source, feed, in_thread, now
from reactivex import Subject
from reactivex import operators as ops
from virtual import virtual

from rxnodes import BufferOverflow, Drops, Project, RxNodesError, Trigger, aiter_observable, map_async
from rxnodes.testing import run_in_virtual_time


@virtual
async def test_iterating_sees_everything_from_the_moment_it_was_made():
    source = Subject()
    items = aiter_observable(source)
    feed(source, 1, 2)
    source.on_completed()
    assert [item async for item in items] == [1, 2]
    assert [item async for item in items] == []


@virtual
async def test_the_error_is_raised_once_after_the_last_item():
    source = Subject()
    items = aiter_observable(source)
    source.on_next(1)
    source.on_error(ZeroDivisionError())
    assert await anext(items) == 1
    with pytest.raises(ZeroDivisionError):
        await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@virtual
async def test_a_stop_async_iteration_as_the_error_does_not_pass_for_the_end():
    async def lookup(_):
        raise StopAsyncIteration

    with pytest.raises(RuntimeError, match="StopAsyncIteration as its error") as raised:
        async for _ in aiter_observable(reactivex.of(1).pipe(map_async(lookup))):
            pass
    assert isinstance(raised.value.__cause__, StopAsyncIteration)


@virtual
@pytest.mark.parametrize("outer", [True, False], ids=["project", "scene"])
async def test_it_ends_with_the_scope_that_it_is_given(outer):
    trigger, seen = Trigger(), []

    async def consume(scope):
        seen.extend([item async for item in aiter_observable(trigger, scope=scope)])

    async with Project() as project:
        async with project.scene("menu") as menu:
            task = asyncio.create_task(consume(project if outer else menu))
            await asyncio.sleep(1)
            trigger.fire("a")
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert task.done() is not outer
        trigger.fire("b")
        await asyncio.sleep(1)
    await task
    assert seen == ["a", *(["b"] if outer else [])]
    assert not trigger.is_observed


@virtual
async def test_a_scope_that_was_left_is_refused_and_an_open_one_keeps_no_iterator_that_has_ended():
    async with Project() as project:
        for _ in range(3):
            assert [item async for item in aiter_observable(reactivex.of(1), scope=project)] == [1]
        assert len(project._kept) == 0
    with pytest.raises(RxNodesError, match="the project has been left"):
        aiter_observable(reactivex.of(1), scope=project)


@virtual
async def test_breaking_out_disposes_at_once():
    source = Source()
    seen = []

    async def consume():
        async for item in aiter_observable(source.subject, buffer=1):
            seen.append(item)
            if item == 2:
                break
        assert source.subject.observers == []
        assert not source.is_paused

    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    source.emit(1, 2, 3, 4)
    assert source.is_paused
    await task
    assert seen == [1, 2]


@virtual
async def test_an_iterator_that_nobody_refers_to_is_disposed_without_a_collection():
    source = Subject()
    gc.disable()
    try:
        items = aiter_observable(source)
        assert len(source.observers) == 1
        del items
        assert source.observers == []
    finally:
        gc.enable()


@virtual
async def test_closing_ends_the_task_that_waits():
    source = Subject()
    async with aiter_observable(source) as items:
        waiting = asyncio.create_task(anext(items, "the end"))
        await asyncio.sleep(0)
        source.on_next("not seen")
    assert source.observers == []
    assert await waiting == "the end"
    assert await anext(items, "the end") == "the end"
    await items.aclose()


@virtual
async def test_only_one_task_may_wait_at_a_time():
    source = Subject()
    items = aiter_observable(source)
    first = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task already waits"):
        await anext(items)
    source.on_next(1)
    assert await first == 1


@virtual
async def test_cancelling_the_wait_loses_nothing():
    source = Subject()
    items = aiter_observable(source)
    waiting = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    source.on_next(0)
    # It has been woken, and has not run yet.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.on_next(1)
    assert [await anext(items), await anext(items)] == [0, 1]


@virtual
async def test_an_iterator_drops_by_the_policies_of_map_async():
    source, drops = Subject(), Drops()
    dropped = Seen(drops)
    items = aiter_observable(source, buffer=2, overflow="drop_oldest", drops=drops)
    feed(source, *range(5))
    source.on_completed()
    assert [item async for item in items] == [3, 4]
    assert dropped == [0, 1, 2]


@virtual
@pytest.mark.parametrize("overflow", ["error", "pause"])
async def test_an_iterator_whose_buffer_is_full_raises_after_the_items_that_wait(overflow):
    source = Subject()
    items = aiter_observable(source, buffer=2, overflow=overflow)
    feed(source, *range(5))
    assert source.observers == []
    assert [await anext(items), await anext(items)] == [0, 1]
    with pytest.raises(BufferOverflow):
        await anext(items)


@virtual
async def test_an_iterator_pauses_its_source():
    source = Source()
    items = aiter_observable(source.subject, buffer=4)
    source.emit(*range(3))
    assert not source.is_paused
    source.emit(*range(3, 6))
    assert source.is_paused
    for item in range(6):
        assert source.is_paused is (item < 4)
        assert await anext(items) == item
    assert source.turns == [True, False]


@virtual
async def test_nothing_that_a_source_emits_after_an_overflow_is_seen():
    def subscribe(observer, _scheduler=None):
        for item in range(3):
            observer.on_next(item)
        observer.on_error(ZeroDivisionError())

    items = aiter_observable(reactivex.Observable(subscribe), buffer=1, overflow="error")
    assert await anext(items) == 0
    with pytest.raises(BufferOverflow):
        await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@virtual
async def test_an_iterator_resumes_a_source_that_has_completed():
    source = Source()
    items = aiter_observable(source.subject, buffer=1)
    source.emit(1, 2)
    source.subject.on_completed()
    assert not source.is_paused
    assert [item async for item in items] == [1, 2]


@virtual
async def test_iterating_over_items_of_another_thread():
    source = Subject()
    items = aiter_observable(source)
    first = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    in_thread(lambda: (feed(source, *range(3)), source.on_completed()))
    assert await first == 0
    assert [item async for item in items] == [1, 2]


@virtual
async def test_timed_operators_run_on_the_loop():
    items = aiter_observable(reactivex.timer(5).pipe(ops.map(lambda _: now())))
    assert [item async for item in items] == [5.0]


@virtual
@pytest.mark.parametrize(
    ("source", "options", "error", "says"),
    [
        ([1], {}, TypeError, "aiter_observable: expected an observable, got list"),
        (ops.map(str), {}, TypeError, r"got function; an operator goes into the .pipe\(...\) of an observable"),
        (Subject(), {"buffer": 0}, ValueError, "buffer: expected 1 or more, got 0"),
    ],
)
async def test_a_wrong_argument_is_refused(source, options, error, says):
    with pytest.raises(error, match=says):
        aiter_observable(source, **options)


def test_iterating_needs_a_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        aiter_observable(Subject())


def test_an_iterator_that_outlives_its_loop():
    source = Subject()

    async def main():
        return aiter_observable(source)

    items = run_in_virtual_time(main())
    source.on_next(1)
    del items
    assert source.observers == []
