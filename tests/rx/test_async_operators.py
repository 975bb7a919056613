"""Consumers that are awaited, in virtual time."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
import reactivex
from consumers import Seen, Source, Work, feed, in_thread, now
from reactivex import Subject
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from virtual import Chat, virtual

from rxnodes import BufferOverflow, Drops, Project, RxNodesError, for_each_async, map_async
from rxnodes.rx.schedulers import ThreadSafeLoopScheduler
from rxnodes.testing import ScriptedTransport, VirtualTimeLoop, run_in_virtual_time
from rxnodes.websocket import on_receive, on_stop

# Results: their order, how many at a time, completion


@virtual
async def test_one_after_the_other_in_order():
    source, work = Subject(), Work()
    seen = Seen(source.pipe(map_async(work)))
    feed(source, *range(3))
    source.on_completed()
    assert seen == []
    await asyncio.sleep(1.5)
    assert seen == ["did 0"]
    await asyncio.sleep(10)
    assert seen == ["did 0", "did 1", "did 2", "|"]
    assert work.most == 1


@virtual
@pytest.mark.parametrize(("ordered", "expected"), [(True, [3, 1, 2, 0]), (False, [0, 1, 2, 3])])
async def test_in_the_order_of_the_items_or_as_completed(ordered, expected):
    source, work = Subject(), Work(float)
    seen = Seen(source.pipe(map_async(work, max_concurrent=4, ordered=ordered)))
    feed(source, 3, 1, 2, 0)
    await asyncio.sleep(2.5)
    assert len(seen) == (0 if ordered else 3)
    await asyncio.sleep(1)
    assert seen == [f"did {item}" for item in expected]


@virtual
@pytest.mark.parametrize("ordered", [True, False])
async def test_no_more_than_so_many_at_a_time(ordered):
    source, work = Subject(), Work()
    seen = Seen(source.pipe(map_async(work, max_concurrent=3, ordered=ordered)))
    feed(source, *range(10))
    source.on_completed()
    began = now()
    await asyncio.sleep(100)
    assert work.most == 3
    assert seen == [*(f"did {item}" for item in range(10)), "|"]
    assert now() - began == 100


@virtual
async def test_a_result_that_waits_for_its_turn_counts_as_one_that_is_worked_on():
    source, work = Subject(), Work(lambda item: 10 if item == 0 else 0.1)
    Seen(source.pipe(map_async(work, max_concurrent=2)))
    feed(source, *range(5))
    await asyncio.sleep(5)
    assert work.begun == [0, 1], "otherwise results that wait could grow without bound"
    await asyncio.sleep(10)
    assert work.done == [1, 0, 2, 3, 4]


@virtual
async def test_an_empty_source_completes_at_once():
    assert Seen(reactivex.empty().pipe(map_async(Work()))) == ["|"]


@virtual
async def test_the_subscriptions_are_apart():
    source, work = Subject(), Work()
    pipeline = source.pipe(map_async(work))
    first, second = Seen(pipeline), Seen(pipeline)
    source.on_next(1)
    await asyncio.sleep(2)
    assert first == second == ["did 1"]
    assert work.begun == [1, 1]


@virtual
async def test_any_awaitable_will_do():
    def answer(item):
        future = asyncio.get_running_loop().create_future()
        future.set_result(item * 2)
        return future

    seen = Seen(reactivex.just(4).pipe(map_async(answer)))
    await asyncio.sleep(1)
    assert seen == [8, "|"]


@virtual
async def test_each_item_passes_when_its_work_is_done():
    source, work = Subject(), Work()
    seen = Seen(source.pipe(for_each_async(work)))
    feed(source, "a", "b")
    source.on_completed()
    await asyncio.sleep(1.5)
    assert (seen, work.done) == (["a"], ["a"])
    await asyncio.sleep(1)
    assert (seen, work.done) == (["a", "b", "|"], ["a", "b"])


# Errors


async def fails(item):
    await asyncio.sleep(1)
    if item == "bad":
        raise ZeroDivisionError(item)
    return item


@virtual
async def test_what_a_coroutine_raises_is_the_streams_error_and_cancels_the_others():
    source, work = Subject(), Work(10)

    async def fn(item):
        return await (fails(item) if item == "bad" else work(item))

    seen = Seen(source.pipe(map_async(fn, max_concurrent=2, ordered=False)))
    feed(source, "long", "bad", "waits")
    await asyncio.sleep(2)
    ((what, error),) = seen
    assert (what, type(error)) == ("error", ZeroDivisionError)
    assert work.cancelled == ["long"]
    source.on_next("later")
    await asyncio.sleep(20)
    assert work.begun == ["long"]
    assert len(seen) == 1


@virtual
async def test_in_order_an_error_has_its_turn():
    source = Subject()
    work = Work(lambda item: item)

    async def fn(item):
        result = await work(item)
        if item == 1:
            raise ZeroDivisionError
        return result

    seen = Seen(source.pipe(map_async(fn, max_concurrent=2)))
    feed(source, 5, 1)
    await asyncio.sleep(3)
    assert seen == []
    await asyncio.sleep(3)
    assert seen[0] == "did 5"
    assert type(seen[1][1]) is ZeroDivisionError


@virtual
@pytest.mark.parametrize(("operator", "instead"), [(map_async, "instead"), (for_each_async, "bad")])
async def test_an_error_can_become_a_value_or_be_passed_over(operator, instead):
    source, errors = Subject(), []

    def handle(error, item):
        errors.append((item, type(error)))
        return "instead"

    seen = Seen(source.pipe(operator(fails, on_error=handle)))
    feed(source, "a", "bad", "b")
    source.on_completed()
    await asyncio.sleep(10)
    assert seen == ["a", instead, "b", "|"]
    assert errors == [("bad", ZeroDivisionError)]


@virtual
async def test_an_exception_of_on_error_is_the_streams_error():
    seen = Seen(reactivex.just("bad").pipe(map_async(fails, on_error=lambda error, item: {}[item])))
    await asyncio.sleep(2)
    assert type(seen[0][1]) is KeyError


@virtual
async def test_an_exception_before_there_is_anything_to_await():
    seen = Seen(reactivex.just(0).pipe(map_async(lambda item: 1 / item)))
    await asyncio.sleep(1)
    assert type(seen[0][1]) is ZeroDivisionError


@virtual
@pytest.mark.parametrize(
    ("operator", "fn", "says"),
    [
        (
            map_async,
            lambda item: item * 2,
            "map_async: expected a coroutine function, got one that returns int; .* use ops.map",
        ),
        (for_each_async, print, "for_each_async: .* returns NoneType; .* use ops.do_action"),
    ],
)
async def test_a_plain_function_is_the_pipelines_error_and_no_items(operator, fn, says):
    source, handled = Subject(), []
    seen = Seen(source.pipe(operator(fn, on_error=lambda error, item: handled.append(item))))
    source.on_next(1)
    await asyncio.sleep(1)
    ((_, error),) = seen
    assert isinstance(error, TypeError)
    assert re.search(says, str(error))
    assert handled == []


class StrangeError(BaseException):
    pass


@virtual
@pytest.mark.parametrize("error", [asyncio.CancelledError(), StrangeError()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("handled", [False, True])
async def test_a_cancellation_from_elsewhere_is_an_error_like_any(error, handled):
    source = Subject()

    async def fn(item):
        if item == "bad":
            raise error
        return item

    seen = Seen(source.pipe(map_async(fn, on_error=(lambda error, item: error) if handled else None)))
    feed(source, "bad", "good")
    await asyncio.sleep(1)
    wrapped = seen[0] if handled else seen[0][1]
    assert type(wrapped) is RxNodesError
    assert "cancelled" in str(wrapped) or wrapped.__cause__ is error
    assert seen[1:] == (["good"] if handled else [])


@virtual
async def test_an_error_of_the_source_passes_at_once_and_cancels():
    source, work = Subject(), Work()
    seen = Seen(source.pipe(map_async(work)))
    feed(source, 1, 2)
    await asyncio.sleep(0.5)
    error = ValueError("no")
    source.on_error(error)
    assert seen == [("error", error)]
    await asyncio.sleep(10)
    assert (work.begun, work.cancelled, work.done) == ([1], [1], [])


# Disposing


@virtual
async def test_disposing_cancels_what_runs_and_forgets_what_waits():
    source, work = Source(), Work()
    seen = Seen(source.subject.pipe(map_async(work, max_concurrent=2, buffer=1)))
    source.emit(1, 2, 3)
    await asyncio.sleep(0.5)
    assert source.is_paused
    seen.subscription.dispose()
    assert not source.is_paused
    await asyncio.sleep(10)
    assert (work.begun, work.cancelled, work.done, seen) == ([1, 2], [1, 2], [], [])
    source.emit(4)
    await asyncio.sleep(10)
    assert work.begun == [1, 2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_a_subscriber_that_disposes_sees_nothing_more():
    source, work, seen = Subject(), Work(), []
    subscription = source.pipe(map_async(work, max_concurrent=3)).subscribe(
        lambda result: (seen.append(result), subscription.dispose())
    )
    feed(source, *range(5))
    await asyncio.sleep(10)
    assert seen == ["did 0"]
    assert work.begun == [0, 1, 2]


@virtual
async def test_a_coroutine_that_disposes_its_own_pipeline_is_cancelled_too():
    source, after = Subject(), []

    async def fn(item):
        subscription.dispose()
        await asyncio.sleep(0)
        after.append(item)

    subscription = source.pipe(map_async(fn)).subscribe()
    source.on_next(1)
    await asyncio.sleep(1)
    assert after == []


@virtual
async def test_a_loop_that_begins_a_task_at_once():
    """An eager task factory does so. The coroutine may dispose the subscription before its task is known."""
    source, after = Subject(), []

    def eagerly(loop, coroutine, **kwargs):
        subscription.dispose()
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    async def fn(item):
        after.append(item)

    subscription = source.pipe(map_async(fn)).subscribe()
    asyncio.get_running_loop().set_task_factory(eagerly)
    source.on_next(1)
    asyncio.get_running_loop().set_task_factory(None)
    await asyncio.sleep(1)
    assert after == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_what_a_coroutine_raises_while_it_is_cancelled_is_logged(caplog):
    source = Subject()

    async def fn(_item):
        try:
            await asyncio.sleep(10)
        finally:
            raise ZeroDivisionError

    subscription = source.pipe(map_async(fn)).subscribe()
    source.on_next(1)
    await asyncio.sleep(1)
    subscription.dispose()
    await asyncio.sleep(1)
    (record,) = caplog.records
    assert record.exc_info[0] is ZeroDivisionError
    assert "while it was cancelled" in record.message


# Subscribers that raise


@virtual
async def test_a_subscriber_that_raises_is_logged_and_sees_the_next(caplog):
    source, seen = Subject(), []

    def raises(result):
        seen.append(result)
        raise ZeroDivisionError

    source.pipe(map_async(Work(), max_concurrent=2)).subscribe(raises)
    feed(source, *range(3))
    await asyncio.sleep(10)
    assert seen == ["did 0", "did 1", "did 2"]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 3


def test_an_interrupt_reaches_the_program_and_leaves_nothing_behind():
    seen = []

    def raises(result):
        seen.append(result)
        if result == "did 0":
            raise KeyboardInterrupt

    async def main():
        source = Subject()
        source.pipe(map_async(Work(), max_concurrent=2)).subscribe(raises)
        feed(source, *range(3))
        await asyncio.sleep(10)

    runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
    with runner:
        task = runner.get_loop().create_task(main())
        with pytest.raises(KeyboardInterrupt):
            runner.get_loop().run_until_complete(task)
        runner.get_loop().run_until_complete(task)
    assert seen == ["did 0", "did 1", "did 2"]


@virtual
async def test_an_error_without_anybody_who_handles_it_reaches_the_loop():
    source, complaints = Subject(), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    source.pipe(map_async(fails)).subscribe()
    source.on_next("bad")
    await asyncio.sleep(2)
    assert [type(error) for error in complaints] == [ZeroDivisionError]


# Full buffers


@virtual
@pytest.mark.parametrize(
    ("overflow", "worked_on", "dropped"),
    [
        ("drop_oldest", [0, 4, 5], [1, 2, 3]),
        ("drop_newest", [0, 1, 2], [3, 4, 5]),
        ("latest", [0, 5], [1, 2, 3, 4]),
    ],
)
async def test_a_full_buffer_counts_and_emits_what_it_drops(overflow, worked_on, dropped):
    source, work, drops = Source(), Work(), Drops()
    emitted = Seen(drops)
    Seen(source.subject.pipe(map_async(work, buffer=2, overflow=overflow, drops=drops)))
    source.emit(*range(6))
    assert not source.is_paused, "only 'pause' pauses"
    await asyncio.sleep(10)
    assert (work.done, emitted, drops.total) == (worked_on, dropped, len(dropped))


@virtual
@pytest.mark.parametrize(
    ("overflow", "worked_on", "dropped"),
    [("drop_oldest", [0, 5], [1, 2]), ("drop_newest", [0, 5], [1, 2]), ("latest", [0, 2, 5], [1])],
)
async def test_a_buffer_of_none(overflow, worked_on, dropped):
    source, work, drops = Subject(), Work(), Drops()
    emitted = Seen(drops)
    Seen(source.pipe(map_async(work, buffer=0, overflow=overflow, drops=drops)))
    feed(source, *range(3))
    await asyncio.sleep(5)
    source.on_next(5)
    await asyncio.sleep(5)
    assert (work.done, emitted) == (worked_on, dropped)


@virtual
@pytest.mark.parametrize("overflow", ["pause", "drop_oldest", "drop_newest", "latest", "error"])
async def test_what_fits_is_never_dropped(overflow):
    source, work, drops = Subject(), Work(), Drops()
    Seen(source.pipe(map_async(work, max_concurrent=2, buffer=1, overflow=overflow, drops=drops)))
    feed(source, *range(3))
    await asyncio.sleep(10)
    assert (work.done, drops.total) == ([0, 1, 2], 0)


@virtual
@pytest.mark.parametrize(("overflow", "says"), [("error", "is full"), ("pause", "cannot be paused")])
async def test_a_full_buffer_that_may_not_drop_ends_the_stream(overflow, says):
    source, work = Subject(), Work()
    seen = Seen(source.pipe(map_async(work, buffer=2, overflow=overflow)))
    await asyncio.sleep(0)
    feed(source, *range(5))
    ((_, error),) = seen
    assert type(error) is BufferOverflow
    assert error.size == 2
    assert says in str(error)
    await asyncio.sleep(10)
    assert work.done == []


@virtual
async def test_the_policy_error_does_not_pause_a_source_that_could_be_paused():
    source = Source()
    seen = Seen(source.subject.pipe(map_async(Work(), buffer=1, overflow="error")))
    source.emit(1, 2, 3)
    assert type(seen[0][1]) is BufferOverflow
    assert source.turns == []


@virtual
@pytest.mark.parametrize(("buffer", "pauses_at", "goes_on_at"), [(0, 1, 0), (1, 2, 0), (2, 3, 1), (5, 6, 2)])
async def test_a_source_is_paused_when_the_buffer_is_full_and_goes_on_at_half(buffer, pauses_at, goes_on_at):
    source, work = Source(), Work()
    Seen(source.subject.pipe(map_async(work, buffer=buffer)))
    for item in range(pauses_at):
        assert not source.is_paused
        source.emit(item)
    assert source.is_paused
    waiting = buffer
    while source.is_paused:
        await asyncio.sleep(1)
        await asyncio.sleep(0.001)
        waiting -= 1
    assert max(waiting, 0) == goes_on_at
    assert source.turns == [True, False]


@virtual
async def test_the_items_of_one_read_are_kept_though_the_buffer_is_full():
    source, work = Source(), Work()
    seen = Seen(source.subject.pipe(map_async(work, buffer=2)))
    source.emit(*range(20))
    await asyncio.sleep(100)
    assert seen == [f"did {item}" for item in range(20)]
    assert source.turns == [True, False]


@virtual
async def test_a_source_that_completes_is_resumed():
    source, work = Source(), Work()
    seen = Seen(source.subject.pipe(map_async(work, buffer=1)))
    source.emit(1, 2, 3)
    assert source.is_paused
    source.subject.on_completed()
    assert not source.is_paused
    await asyncio.sleep(10)
    assert seen == ["did 1", "did 2", "did 3", "|"]


@virtual
async def test_the_pause_goes_up_through_a_chain_of_awaiting_operators():
    source, quick, slow = Source(), Work(0), Work(1)
    seen = Seen(source.subject.pipe(map_async(quick, buffer=2), ops.filter(bool), map_async(slow, buffer=2)))
    for item in range(4):
        source.emit(item)
        await asyncio.sleep(0.1)
    assert not source.is_paused
    source.emit(4, 5)
    await asyncio.sleep(0)
    assert source.is_paused
    assert len(quick.begun) <= 4, "an item that cannot be passed on is not begun"
    await asyncio.sleep(100)
    assert seen == [f"did did {item}" for item in range(6)]
    assert not source.is_paused


@virtual
async def test_two_sources_are_paused_each_by_itself():
    first, second, work = Source(), Source(), Work()
    merged = reactivex.merge(first.subject, second.subject)
    Seen(merged.pipe(map_async(work, buffer=1)))
    first.emit(1, 2)
    assert (first.is_paused, second.is_paused) == (True, False)
    second.emit(3)
    assert (first.is_paused, second.is_paused) == (True, True)
    await asyncio.sleep(10)
    assert (first.is_paused, second.is_paused) == (False, False)
    assert work.done == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: map_async(fails, max_concurrent=0), ValueError, "max_concurrent: expected 1 or more, got 0"),
        (lambda: map_async(fails, max_concurrent=1.5), TypeError, "max_concurrent: expected an integer, got float"),
        (lambda: map_async(fails, buffer=-1), ValueError, "buffer: expected 0 or more, got -1"),
        (lambda: for_each_async(fails, overflow="drop"), ValueError, "overflow: expected one of pause, .*; got 'drop'"),
        (lambda: map_async(None), TypeError, "map_async: expected a coroutine function, got NoneType"),
        (
            lambda: map_async(fails, on_error=5),
            TypeError,
            "on_error: expected a function that returns the result, got int",
        ),
        (lambda: for_each_async(fails, on_error=fails), TypeError, "on_error: expected a plain function"),
        (lambda: map_async(fails, drops=Drops), TypeError, r"drops: expected a Drops\(\), got <class"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(make, error, says):
    with pytest.raises(error, match=says):
        make()


# Loops and threads


@pytest.mark.parametrize("is_closed", [False, True])
def test_without_a_loop_there_is_a_clear_error(is_closed):
    source, seen = Subject(), Seen()

    async def main():
        seen.follow(source.pipe(map_async(fails)))

    if is_closed:
        run_in_virtual_time(main())
    else:
        seen.follow(source.pipe(map_async(fails)))
    source.on_next(1)
    ((_, error),) = seen
    assert type(error) is RxNodesError
    assert "map_async: no event loop runs in this thread, or the one it was subscribed on is closed" in str(error)


def test_the_loop_may_begin_later():
    source, work = Subject(), Work()
    seen = Seen(source.pipe(map_async(work)))

    async def main():
        source.on_next(1)
        await asyncio.sleep(2)

    run_in_virtual_time(main())
    assert seen == ["did 1"]


@virtual
@pytest.mark.parametrize("end", ["complete", "error", "dispose"])
async def test_items_of_another_thread_are_handed_over(end):
    source, threads = Subject(), set()
    error = ValueError("no")

    async def fn(item):
        threads.add(threading.get_ident())
        return item

    seen = Seen(source.pipe(map_async(fn)))
    in_thread(lambda: feed(source, *range(5)))
    await asyncio.sleep(1)
    assert seen == [0, 1, 2, 3, 4]
    ends = {
        "complete": source.on_completed,
        "error": lambda: source.on_error(error),
        "dispose": seen.subscription.dispose,
    }
    in_thread(lambda: (source.on_next(5), ends[end]()))
    await asyncio.sleep(1)
    assert seen[5:] == {"complete": [5, "|"], "error": [("error", error)], "dispose": []}[end]
    assert threads == {threading.get_ident()}


@virtual
@pytest.mark.parametrize(
    ("overflow", "expected"), [("drop_oldest", [98, 99]), ("drop_newest", [0, 1]), ("latest", [98, 99])]
)
async def test_a_flood_from_another_thread_is_bounded_there(overflow, expected):
    """The loop is blocked meanwhile, so all items come before the first one is begun."""
    source, work, drops = Subject(), Work(), Drops()
    Seen(source.pipe(map_async(work, buffer=1, overflow=overflow, drops=drops)))
    called = []
    loop = asyncio.get_running_loop()
    hand_over = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *args: (called.append(args), hand_over(*args))
    in_thread(lambda: feed(source, *range(100)))
    await asyncio.sleep(10)
    assert work.done == expected
    assert drops.total == 100 - len(expected)
    assert len(called) == 1, "the loop is called once, not for each item"


@virtual
async def test_an_overflow_in_another_thread():
    source = Subject()
    seen = Seen(source.pipe(map_async(Work(), buffer=1, overflow="error")))
    in_thread(lambda: feed(source, *range(9)))
    assert seen == []
    await asyncio.sleep(1)
    assert [type(error) for _, error in seen] == [BufferOverflow]


@pytest.mark.parametrize("kind", [ThreadSafeLoopScheduler, AsyncIOThreadSafeScheduler])
@virtual
async def test_a_scheduler_on_a_loop_names_the_loop(kind):
    source, work, scheduler = Subject(), Work(), kind(asyncio.get_running_loop())
    seen = Seen()
    in_thread(lambda: (seen.follow(source.pipe(map_async(work)), scheduler=scheduler), source.on_next(1)))
    await asyncio.sleep(2)
    assert seen == ["did 1"]


@pytest.mark.slow
def test_awaiting_on_another_loop_pauses_the_connection():
    """It subscribes with a scheduler of that loop, through which a connection would hand over all its messages."""
    count = 300
    transport = ScriptedTransport(lambda peer: peer.accept())
    numbers, begun = [], threading.Event()

    async def save(number):
        begun.set()
        await asyncio.sleep(0)
        numbers.append(number)

    def send_all():
        for number in range(count):
            transport.peer.send(str(number))
        transport.peer.close(1000)

    with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")

        async def main():
            pipeline = on_receive(chat).pipe(
                ops.map(int), ops.take_until(on_stop(chat)), ops.flat_map(reactivex.of), for_each_async(save, buffer=2)
            )
            done = asyncio.ensure_future(pipeline)
            await asyncio.sleep(0)
            chat.start()
            await chat.wait_started()
            project.loop.call_soon_threadsafe(send_all)
            return await asyncio.wait_for(done, 10)

        assert asyncio.run(main()) == count - 1
    assert numbers == list(range(count))


def test_disposing_when_the_loop_is_gone():
    source, seen = Source(), Seen()

    async def main():
        seen.follow(source.subject.pipe(map_async(Work(), buffer=1)))
        source.emit(1, 2, 3)

    asyncio.run(main())
    seen.subscription.dispose()
    assert not source.is_paused


@virtual
@pytest.mark.parametrize("how", ["the scope", "awaited"])
async def test_items_made_of_a_message_pause_its_connection_though_they_come_a_turn_later(how):
    """`of` and `from_iterable` emit on the subscription's scheduler, in the next turn of the loop."""
    transport = ScriptedTransport(lambda peer: peer.accept())
    work = Work()
    async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        pipeline = on_receive(chat).pipe(
            ops.take_until(on_stop(chat)),
            ops.flat_map(lambda text: reactivex.from_iterable(text.split())),
            for_each_async(work, buffer=2),
        )
        done = asyncio.ensure_future(pipeline) if how == "awaited" else None
        if done is None:
            project.subscribe(pipeline)
        await asyncio.sleep(0)
        chat.start()
        await chat.wait_started()
        for number in range(20):
            transport.peer.send(f"{number} {number}")
            await asyncio.sleep(0)
        assert transport.peer.is_held
        await asyncio.sleep(100)
        assert work.done == [str(number) for number in range(20) for _ in "ab"]
        transport.peer.close(1000)
        await chat.wait_stopped()
        assert done is None or await done == "19"


@virtual
async def test_a_queue_that_schedules_itself_pauses_no_source_after_its_first_item():
    """`observe_on` has such a queue, with items of all sources. So it cannot pause any of them."""
    first, second = Source(), Source()
    merged = reactivex.merge(first.subject, second.subject)
    scheduler = ThreadSafeLoopScheduler(asyncio.get_running_loop())
    seen = Seen(merged.pipe(ops.observe_on(scheduler), map_async(Work(), buffer=2)))
    first.emit(0)
    for item in range(1, 10):
        second.emit(item)
        await asyncio.sleep(0)
    await asyncio.sleep(0.5)
    assert [type(error) for _, error in seen] == [BufferOverflow]
    assert not first.is_paused


# Connections


@virtual
async def test_the_next_session_begins_paused_if_the_last_one_ended_so():
    chat = Chat()
    Seen(on_receive(chat.connection).pipe(map_async(Work(10), buffer=1)))
    await chat.opened()
    first = chat.peer
    first.send("a")
    first.send("b")
    assert first.is_held
    chat.connection.stop()
    await chat.connection.wait_stopped()
    chat.connection.start()
    await chat.connection.wait_started()
    assert chat.peer is not first
    chat.peer.send("c")
    assert chat.peer.is_held
    assert chat.journal.messages == ["a", "b"]
    await asyncio.sleep(11)
    assert chat.journal.messages == ["a", "b", "c"]
