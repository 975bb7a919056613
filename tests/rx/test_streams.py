"""Hot streams: isolated, ordered, replaying where asked."""

from __future__ import annotations

import asyncio
import threading

import pytest
import reactivex
from consumers import Seen, in_thread
from reactivex import Observable
from reactivex import operators as ops

from rxnodes import Drops, Trigger
from rxnodes.rx.filtered import Filtered
from rxnodes.rx.streams import Derived, IsolatedBehaviorSubject, IsolatedSubject, View


class Reports(list):
    """What a stream reports."""

    def __call__(self, error):
        self.append(error)


@pytest.fixture
def reports():
    return Reports()


@pytest.fixture
def stream(reports):
    return IsolatedSubject[int](reports)


def at_once(action):
    action()


@pytest.mark.parametrize(
    "error", [ValueError("no"), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit()]
)
def test_86_promise_7_one_that_raises_does_not_stop_the_others_or_its_own_later_notifications(stream, reports, error):
    seen = []

    def raises(value):
        seen.append(("raises", value))
        raise error

    stream.subscribe(raises)
    stream.subscribe(lambda value: seen.append(("other", value)))
    stream.on_next(1)
    stream.on_next(2)
    assert seen == [("raises", 1), ("other", 1), ("raises", 2), ("other", 2)]
    assert reports == [error, error]


def test_85_an_observer_object_and_one_without_on_error(stream, reports):
    seen = []
    subject = reactivex.Subject[int]()
    subject.subscribe(seen.append)
    stream.subscribe(subject)
    stream.subscribe()
    stream.on_next(1)
    assert seen == [1]
    assert reports == []


def test_89_dispose_inside_on_next_of_itself(stream):
    seen = []

    def once(value):
        seen.append(value)
        subscription.dispose()

    subscription = stream.subscribe(once)
    stream.on_next(1)
    stream.on_next(2)
    assert seen == [1]
    assert not stream.is_observed


def test_89_dispose_inside_on_next_of_another(stream):
    seen = []
    stream.subscribe(lambda _: other.dispose())
    other = stream.subscribe(seen.append)
    stream.on_next(1)
    assert seen == []


def test_90_subscribe_inside_on_next_sees_the_next(stream):
    seen = []
    stream.subscribe(lambda value: stream.subscribe(lambda later: seen.append((value, later))))
    stream.on_next(1)
    stream.on_next(2)
    assert seen == [(1, 2)]


def derived(source):
    return Derived(Derived(source, lambda value, emit: emit(value)), lambda value, emit: emit(value))


@pytest.fixture(params=["subject", "behavior subject", "derived", "filtered"])
def ending(request, reports):
    """A stream of each kind, and the subject that ends it."""
    subject = IsolatedSubject[int](reports)
    if request.param == "behavior subject":
        subject = IsolatedBehaviorSubject[int](reports, lambda: 0, at_once)
    made = {"derived": derived, "filtered": lambda source: Filtered(source, int)}
    return made.get(request.param, lambda source: source)(subject), subject


@pytest.mark.parametrize("end", ["|", "error"])
def test_it_ends_once_also_for_those_who_come_later(ending, end):
    stream, subject = ending
    error = ValueError("no")
    early, late = Seen(stream), Seen()
    if end == "|":
        subject.on_completed()
    else:
        subject.on_error(error)
    late.follow(stream)
    subject.on_next(1)
    subject.on_error(KeyError())
    subject.on_completed()
    ended = ["|"] if end == "|" else [("error", error)]
    assert late == ended
    assert early in (ended, [0, *ended])
    assert stream.is_stopped
    assert not stream.is_observed


def test_an_error_that_a_subscriber_does_not_handle_is_reported(stream, reports):
    error = ValueError("no")
    stream.subscribe()
    seen = Seen(stream)
    stream.on_error(error)
    assert reports == [error]
    assert seen == [("error", error)]


@pytest.mark.parametrize("end", [reactivex.empty(), reactivex.throw(ValueError("no"))])
def test_it_is_an_observer_as_a_subject_is(stream, end):
    subject = reactivex.Subject[int]()
    seen, expected = Seen(stream), Seen(subject)
    for observer in (stream, subject):
        reactivex.of(1, 2).pipe(ops.concat(end)).subscribe(observer)
    assert seen == expected
    assert seen[:2] == [1, 2]


def test_promise_7_a_report_that_fails_keeps_nothing_from_the_others(caplog):
    seen = []
    for stream in (IsolatedSubject(lambda _: 1 / 0), IsolatedBehaviorSubject(lambda _: 1 / 0, lambda: 0, at_once)):
        stream.subscribe(lambda _: no_subscriber(), on_completed=no_subscriber)
        stream.subscribe(seen.append, on_completed=lambda: seen.append("completed"))
        stream.on_next(1)
        stream.on_completed()
    assert seen == [1, "completed", 0, 1, "completed"]
    assert caplog.text.count("cannot be reported") == 5


def no_subscriber():
    raise LookupError("what a subscriber raised")


def test_who_is_disposed_during_completion_does_not_see_it(stream):
    seen = []
    stream.subscribe(on_completed=lambda: other.dispose())  # noqa: PLW0108 - it does not exist yet
    other = stream.subscribe(on_completed=lambda: seen.append("other"))
    stream.on_completed()
    assert seen == []


def test_a_coroutine_function_is_refused(stream):
    async def nobody_awaits(_):
        raise AssertionError

    with pytest.raises(TypeError, match="for_each_async"):
        stream.subscribe(nobody_awaits)


async def test_it_can_be_awaited(stream):
    asyncio.get_running_loop().call_soon(stream.on_next, 7)
    assert await stream.pipe(ops.first()) == 7


def test_83_a_late_subscriber_gets_the_last_value_delivered(reports):
    last = "idle"
    stream = IsolatedBehaviorSubject[str](reports, lambda: last, at_once)
    seen = []
    stream.subscribe(lambda value: seen.append(("a", value)))
    last = "connecting"
    stream.on_next(last)
    stream.subscribe(lambda value: seen.append(("b", value)))
    last = "open"
    stream.on_next(last)
    assert seen == [("a", "idle"), ("a", "connecting"), ("b", "connecting"), ("a", "open"), ("b", "open")]


def test_who_subscribes_during_a_notification_gets_it_once(reports):
    last = "idle"
    stream = IsolatedBehaviorSubject[str](reports, lambda: last, at_once)
    seen = []
    stream.subscribe(lambda value: value == "open" and stream.subscribe(seen.append))
    for last in ("open", "closed"):
        stream.on_next(last)
    assert seen == ["open", "closed"]


def test_who_disposes_while_it_is_replayed_to_is_not_attached(reports):
    queue = []
    stream = IsolatedBehaviorSubject[str](reports, lambda: "idle", queue.append)
    seen = []
    subscription = stream.subscribe(seen.append)
    subscription.dispose()
    queue.pop()()
    stream.on_next("open")
    assert seen == []
    assert not stream.is_observed


def test_subscribing_from_many_threads_loses_nobody(stream):
    seen = []
    threads = [threading.Thread(target=stream.subscribe, args=(seen.append,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream.on_next(1)
    assert seen == [1] * 50


def halves(value, emit):
    if value % 2 == 0:
        emit(value // 2)


def test_a_derived_stream_shows_what_is_made_of_each_value(stream):
    made = []
    derived = Derived(stream, lambda value, emit: (made.append(value), halves(value, emit)))
    seen, others = Seen(derived), Seen(derived)
    for value in (1, 2, 3, 4):
        stream.on_next(value)
    assert seen == others == [1, 2]
    assert made == [1, 2, 3, 4], "once for all subscribers"


def test_it_follows_the_other_only_while_it_is_observed(stream):
    derived = Derived(stream, halves)
    assert not stream.is_observed
    first, second = derived.subscribe(), derived.subscribe()
    first.dispose()
    assert stream.is_observed
    second.dispose()
    second.dispose()
    assert not stream.is_observed
    seen = []
    derived.subscribe(seen.append)
    stream.on_next(2)
    assert seen == [1]


def test_a_derived_stream_goes_on_when_its_function_raises(stream, reports):
    derived = Derived(stream, lambda value, emit: emit(1 // value))
    seen = []
    derived.subscribe(seen.append)
    stream.on_next(0)
    stream.on_next(1)
    assert seen == [1]
    assert [type(error) for error in reports] == [ZeroDivisionError]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_late_subscriber_sees_its_completion_outside_its_lock(stream, depth):
    derived = stream
    for _ in range(depth):
        derived = Derived(derived, halves)
    stream.on_completed()
    is_free = []

    def try_the_lock():
        is_free.append(derived.lock.acquire(timeout=5))
        derived.lock.release()

    derived.subscribe(on_completed=lambda: in_thread(try_the_lock))
    assert is_free == [True]


def test_89_90_subscribing_and_disposing_within_a_notification_of_it(stream):
    derived = Derived(stream, halves)
    seen = []

    def once(value):
        seen.append(("once", value))
        subscription.dispose()
        derived.subscribe(lambda later: seen.append(("later", later)))

    subscription = derived.subscribe(once)
    stream.on_next(2)
    stream.on_next(4)
    assert seen == [("once", 1), ("later", 2)]


def test_coming_and_going_from_many_threads_leaves_nothing_behind(stream):
    derived = Derived(stream, halves)

    def come_and_go():
        for _ in range(200):
            derived.subscribe().dispose()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not derived.is_observed
    assert not stream.is_observed


# Fluent, as docs/fluent.md says


@pytest.mark.parametrize("kind", [IsolatedSubject, IsolatedBehaviorSubject, Derived, View, Trigger, Drops])
def test_no_name_of_ours_hides_an_operator_of_reactivex(kind):
    operators = {name for name in dir(Observable) if not name.startswith("_")} - {"subscribe"}
    ours = {name for it in kind.__mro__ if it.__module__.startswith("rxnodes") for name in vars(it)}
    assert operators & ours == set()
    assert len(operators) > 100


def test_streams_have_reactivexs_operators_as_methods(stream):
    seen = []
    stream.filter(lambda number: number > 1).pipe(ops.map(str)).take(1).subscribe(seen.append)
    for number in (1, 2, 3):
        stream.on_next(number)
    assert seen == ["2"]
    assert not stream.is_observed
