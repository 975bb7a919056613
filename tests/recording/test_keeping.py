"""Recordings stay within their bounds, and no crash tears them."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from rxnodes.recording import LeftOut, Message, Messages, Pulse, Recording
from rxnodes.recording.entries import Recorded
from rxnodes.recording.keeping import InFile, InMemory
from rxnodes.recording.lines import Head, head_line, line_of
from rxnodes.testing import connecting, events, opened, stopped

HEAD = Head(events.AT, {})
COMMON = {"connection": "chat", "session": 1, "attempt": 1, "at": events.AT}


def message(size=10, payload=None):
    return Message(**COMMON, direction="in", kind="text", size=size, payload=payload)


def add(keeping, *entries):
    """Adds entries, and waits until the file is not being rewritten any more, so that each run is the same."""
    keeping.add(*entries)
    rewriting = getattr(keeping, "_rewriting", None)
    if rewriting is not None:
        rewriting.join()


def fill(keeping, count=400):
    """Lifecycle events, pulses and messages, all mixed."""
    add(keeping, Recorded(0.0, connecting()), Recorded(0.0, opened()))
    for number in range(count):
        add(keeping, Recorded(float(number), message(payload="x" * 100)))
        if number % 10 == 0:
            add(keeping, Recorded(float(number), Pulse(**COMMON, node="WebSocket Client Send")))
    add(keeping, Recorded(float(count), stopped()))


@pytest.fixture(params=["memory", "file"])
def keep(request, tmp_path):
    if request.param == "memory":
        return InMemory
    return lambda max_bytes: InFile(tmp_path / "run.jsonl", max_bytes, head_line(HEAD))


def test_what_grows_too_large_loses_its_oldest_messages(keep):
    keeping = keep(30_000)
    fill(keeping)
    keeping.close()
    entries = keeping.entries()
    assert isinstance(entries[0].value, LeftOut)
    left_out = entries[0].value
    messages = [it for it in entries if isinstance(it.value, Message)]
    assert 0 < left_out.messages == 400 - len(messages)
    assert left_out.pulses == left_out.events == 0
    # The newest are those that stay.
    assert [it.time for it in messages] == [float(number) for number in range(left_out.messages, 400)]
    assert [type(it.value).__name__ for it in entries if it.value in {connecting(), stopped()}] == [
        "Connecting",
        "Stopped",
    ]


def test_pulses_go_before_lifecycle_events_and_those_go_too(keep):
    keeping = keep(10_000)
    for number in range(100):
        add(keeping, Recorded(float(number), Pulse(**COMMON, node="WebSocket Client Send", count=2)))
        add(keeping, Recorded(float(number), connecting(session=number)))
    keeping.close()
    entries = keeping.entries()
    left_out = entries[0].value
    told = [it.value.session for it in entries if type(it.value) is type(connecting())]
    assert left_out.pulses == 2 * (100 - sum(isinstance(it.value, Pulse) for it in entries))
    assert left_out.events == 100 - len(told) > 0
    assert told == list(range(left_out.events, 100))


def test_runs_of_messages_are_counted_one_by_one(keep):
    keeping = keep(10_000)
    for number in range(300):
        run = Messages(**COMMON, direction="in", kind="text", count=5, size=50, span=0.1)
        add(keeping, Recorded(float(number), run))
    keeping.close()
    entries = keeping.entries()
    assert entries[0].value.messages + sum(it.value.count for it in entries[1:]) == 1500


def test_a_file_is_bounded_and_whole_at_every_moment(tmp_path):
    path = tmp_path / "run.jsonl"
    keeping = InFile(path, 20_000, head_line(HEAD))
    for number in range(3000):
        keeping.add(Recorded(float(number), message()))
        if number % 50 == 0:
            entries = Recording.load(path).recorded
            assert entries[-1].time == float(number)
    keeping.close()
    assert path.stat().st_size < 20_500
    assert [it.name for it in tmp_path.iterdir()] == ["run.jsonl"]
    entries = keeping.entries()
    assert entries[0].value.messages + len(entries) - 1 == 3000


def test_what_comes_while_the_file_is_rewritten_is_kept(tmp_path, monkeypatch):
    go_on = threading.Event()
    from rxnodes.recording import keeping as module

    def thinned(lines, budget, original=module._thinned):
        assert go_on.wait(5)
        return original(lines, budget)

    monkeypatch.setattr(module, "_thinned", thinned)
    keeping = InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))
    for number in range(100):
        keeping.add(Recorded(float(number), message()))
    assert keeping.entries()[-1].time == 99.0
    go_on.set()
    keeping.close()
    entries = keeping.entries()
    assert entries[-1].time == 99.0
    assert entries[0].value.messages + len(entries) - 1 == 100


def test_a_torn_last_line_is_passed_over_and_any_other_is_not(tmp_path):
    path = tmp_path / "run.jsonl"
    first, last = line_of(Recorded(0.0, connecting())), line_of(Recorded(1.0, stopped()))
    for cut in (1, len(last) // 2, len(last) - 1):
        path.write_bytes(head_line(HEAD) + first + last[:cut])
        assert Recording.load(path).events == [connecting()]
    path.write_bytes(head_line(HEAD) + first[:20] + b"\n" + last)
    with pytest.raises(ValueError, match="line 2 of the recording cannot be read"):
        Recording.load(path)


def test_a_disk_that_is_full_ends_the_recording_and_nothing_else(tmp_path, monkeypatch, caplog):
    keeping = InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))
    keeping.add(Recorded(0.0, connecting()))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    keeping.add(Recorded(1.0, stopped()))
    keeping.add(Recorded(2.0, stopped()))
    keeping.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the recording ends here: {tmp_path / 'run.jsonl'} cannot be written: No space left on device"
    ]
    assert [it.value for it in keeping.entries()] == [connecting()]
