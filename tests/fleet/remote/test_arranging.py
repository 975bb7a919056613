"""Messages and log come by two ways, and are told in one order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rxnodes.fleet.letters import Batch
from rxnodes.fleet.remote.arranging import KEPT_PATIENCE, MOST_EARLY, PATIENCE, Arranging, Missed
from rxnodes.fleet.remote.chronicle import Read
from rxnodes.fleet.rules.values import Entry, Tail
from rxnodes.lifecycle.events import Dropped, Opened, Stopped
from rxnodes.testing import events


def read(event, published=None):
    return Read(Entry("w", event, Tail(), published=published), Tail(), is_behind_gap=False)


def batch(session, attempt, first, messages):
    return Batch(1, session, attempt, first, messages)


@st.composite
def histories(draw):
    """Some sessions: the entries of the log, and for each attempt that opened its numbered messages in batches."""
    log, batches = [], []
    for session in range(1, draw(st.integers(1, 3)) + 1):
        attempts = draw(st.integers(1, 3))
        for attempt in range(1, attempts + 1):
            where = {"session": session, "attempt": attempt}
            log.append(read(events.connecting(**where)))
            count = 0
            if draw(st.booleans()):
                log.append(read(events.opened(**where)))
                for size in draw(st.lists(st.integers(1, 3), max_size=4)):
                    names = [f"{session}.{attempt}.{count + place}" for place in range(1, size + 1)]
                    batches.append(batch(session, attempt, count + 1, names))
                    count += size
                    if draw(st.booleans()):
                        log.append(read(events.error_event(**where)))
            end = events.dropped(**where) if attempt < attempts else events.stopped(**where)
            log.append(read(end, count))
    return log, batches


@settings(max_examples=3 * settings().max_examples)
@given(histories(), st.data())
def test_all_is_told_in_order_and_what_does_not_come_is_missed(history, data):
    log, batches = history
    lost = data.draw(st.sets(st.sampled_from(range(len(batches))), max_size=2)) if batches else set()
    arranging = Arranging()
    arranging.want()
    ways = [list(log), [it for place, it in enumerate(batches) if place not in lost]]
    now, told = 0.0, []
    while any(ways):
        way = data.draw(st.sampled_from([it for it in (0, 1, 2) if it == 2 or ways[it]]))
        if way == 0:
            told += arranging.add_entry(ways[0].pop(0), now)
        elif way == 1:
            told += arranging.add_batch(ways[1].pop(0), now)
        elif arranging.deadline is not None and data.draw(st.booleans()):
            now = arranging.deadline
            told += arranging.elapse(now)
    while arranging.deadline is not None:
        told += arranging.elapse(arranging.deadline)

    # Every entry once, in the order of the log.
    assert [it for it in told if isinstance(it, Read)] == log
    # Every message is shown between the `Opened` and the end of its attempt, in order; or missed; once.
    position, numbers, is_open, shown, missed = (0, 0), {}, False, 0, 0
    for one in told:
        if isinstance(one, Read):
            event = one.entry.event
            if isinstance(event, Opened):
                position, is_open = (event.session, event.attempt), True
                numbers[position] = []
            elif isinstance(event, Dropped | Stopped):
                if is_open:
                    assert numbers[position] == list(range(1, one.entry.published + 1))
                is_open = False
            continue
        assert is_open
        assert (one.session, one.attempt) == position
        if isinstance(one, Missed):
            numbers[position] += one.numbers
            missed += len(one.numbers)
        else:
            assert one.messages == [f"{position[0]}.{position[1]}.{one.first + it}" for it in range(len(one.messages))]
            numbers[position] += range(one.first, one.first + len(one.messages))
            shown += len(one.messages)
    assert shown + missed == sum(len(it.messages) for it in batches)
    assert missed == arranging.discarded + sum(len(batches[place].messages) for place in lost)


def opened(arranging, session=1):
    return arranging.add_entry(read(events.opened(session=session)), 0.0)


def end(arranging, count, session=1, now=0.0):
    return arranging.add_entry(read(events.stopped(session=session), count), now)


def kinds(told):
    return [type(it.entry.event).__name__ if isinstance(it, Read) else type(it).__name__ for it in told]


def test_an_end_waits_a_second_and_no_longer():
    arranging = Arranging()
    arranging.want()
    opened(arranging)
    assert (end(arranging, 2), arranging.deadline) == ([], PATIENCE)
    assert arranging.add_entry(read(events.connecting(session=2)), 0.5) == []
    assert arranging.elapse(PATIENCE / 2) == []
    assert kinds(arranging.add_batch(batch(1, 1, 1, ["a"]), 0.6)) == ["Batch"]
    told = arranging.elapse(PATIENCE)
    assert kinds(told) == ["Missed", "Stopped", "Connecting"]
    assert told[0].numbers == range(2, 3)
    assert (arranging.add_batch(batch(1, 1, 2, ["b"]), 2.0), arranging.discarded) == ([], 1)


def test_an_end_whose_messages_nobody_counted_does_not_wait():
    arranging = Arranging()
    arranging.want()
    opened(arranging)
    assert kinds(end(arranging, None)) == ["Stopped"]


def test_what_a_lost_holder_had_kept_is_waited_for():
    arranging = Arranging()
    arranging.patience = KEPT_PATIENCE
    arranging.want()
    opened(arranging)
    assert (end(arranging, None), arranging.deadline) == ([], PATIENCE)
    assert kinds(arranging.add_batch(batch(1, 1, 1, ["a"]), 0.5)) == ["Batch"]
    assert kinds(arranging.elapse(PATIENCE)) == ["Stopped"]


def test_nothing_waits_where_messages_are_not_wanted():
    arranging = Arranging()
    opened(arranging)
    assert kinds(end(arranging, 5)) == ["Stopped"]
    assert (arranging.add_batch(batch(1, 1, 1, ["a"]), 0.0), arranging.discarded) == ([], 1)


def test_who_wants_them_no_more_is_told_what_waited():
    arranging = Arranging()
    arranging.want()
    opened(arranging)
    assert end(arranging, 5) == []
    assert kinds(arranging.want_no_more(0.1)) == ["Stopped"]
    assert arranging.deadline is None


def test_who_comes_late_is_owed_what_the_holder_said():
    arranging = Arranging()
    arranging.recall(events.opened())
    arranging.want()
    arranging.owe(1, 1, 8)
    told = arranging.add_batch(batch(1, 1, 10, ["j"]), 0.0)
    assert kinds(told) == ["Missed", "Batch"]
    assert told[0].numbers == range(8, 10)


def test_what_the_holder_said_counts_if_its_opened_comes_later():
    arranging = Arranging()
    arranging.want()
    arranging.owe(1, 1, 3)
    opened(arranging)
    assert kinds(arranging.add_batch(batch(1, 1, 3, ["c"]), 0.0)) == ["Batch"]


def test_who_comes_late_misses_nothing_before_the_first_that_comes():
    arranging = Arranging()
    arranging.recall(events.opened())
    arranging.want()
    assert kinds(arranging.add_batch(batch(1, 1, 10, ["j"]), 0.0)) == ["Batch"]
    assert kinds(end(arranging, 10)) == ["Stopped"]


def test_a_batch_without_messages_says_what_is_skipped():
    arranging = Arranging()
    arranging.want()
    opened(arranging)
    told = arranging.add_batch(batch(1, 1, 4, []), 0.0)
    assert (kinds(told), told[0].numbers) == (["Missed"], range(1, 4))


def test_what_comes_twice_is_shown_once():
    arranging = Arranging()
    arranging.want()
    opened(arranging)
    arranging.add_batch(batch(1, 1, 1, ["a", "b"]), 0.0)
    assert arranging.add_batch(batch(1, 1, 1, ["a", "b"]), 0.0) == []
    (told,) = arranging.add_batch(batch(1, 1, 2, ["b", "c"]), 0.0)
    assert (told.first, told.messages, arranging.discarded) == (3, ["c"], 3)


def test_what_waits_for_its_opened_is_bounded():
    arranging = Arranging()
    arranging.want()
    half = ["x" * (MOST_EARLY // 2)]
    for number in (1, 2, 3):
        arranging.add_batch(batch(1, 1, number, half), 0.0)
    assert arranging.discarded == 1
    assert kinds(opened(arranging)) == ["Opened", "Batch", "Batch"]
    assert kinds(end(arranging, 3)) == []
    assert kinds(arranging.elapse(PATIENCE)) == ["Missed", "Stopped"]
