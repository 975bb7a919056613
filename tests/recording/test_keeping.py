"""Recordings stay within their bounds, and no crash tears them."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading

import pytest
from programs import needs_fork

from rxnodes.recording import LeftOut, Message, Messages, Pulse, Recording
from rxnodes.recording import keeping as module
from rxnodes.recording.entries import Recorded
from rxnodes.recording.keeping import InFile, InMemory
from rxnodes.recording.lines import Head, head_line, line_of
from rxnodes.testing import connecting, events, opened, stopped

pytest.importorskip("fcntl", reason="recordings are kept in memory only: Windows")

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


def fill(keeping, count=100):
    """Adds messages, one a second."""
    for number in range(count):
        add(keeping, Recorded(float(number), message()))


@pytest.fixture(params=["memory", "file"])
def keep(request, tmp_path):
    if request.param == "memory":
        return InMemory
    return lambda max_bytes: InFile(tmp_path / "run.jsonl", max_bytes, head_line(HEAD))


def test_what_grows_too_large_loses_its_oldest_messages(keep):
    keeping = keep(30_000)
    add(keeping, Recorded(0.0, connecting()), Recorded(0.0, opened()))
    for number in range(400):
        add(keeping, Recorded(float(number), message(payload="x" * 100)))
        if number % 10 == 0:
            add(keeping, Recorded(float(number), Pulse(**COMMON, node="WebSocket Client Send")))
    add(keeping, Recorded(400.0, stopped()))
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


# --- The file and those beside it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_two_recorders_of_one_file_do_not_spoil_it(tmp_path, is_rewritten):
    path = tmp_path / "run.jsonl"
    first = InFile(path, 2000 if is_rewritten else 100_000, head_line(HEAD))
    fill(first, 50)
    with pytest.raises(OSError, match="another recorder writes to it") as refused:
        InFile(path, 5000, head_line(HEAD))
    assert refused.value.errno == errno.EBUSY
    add(first, Recorded(50.0, stopped()))
    first.close()
    assert Recording.load(path).stopped == [stopped()]
    InFile(path, 5000, head_line(HEAD)).close()
    assert Recording.load(path).events == []


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to(os.devnull)])
def test_only_a_regular_file_is_recorded_to(tmp_path, make):
    """A pipe without a reader would wait, and a device would be replaced by a file."""
    make(tmp_path / "run.jsonl")
    with pytest.raises(OSError, match=r"regular file|Is a directory|No such device"):
        InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))


def test_a_link_stays_and_what_it_leads_to_is_bounded(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "run.jsonl", tmp_path / "link.jsonl"
    target.write_text("what was there before")
    target.chmod(0o644)
    link.symlink_to(target)
    keeping = InFile(link, 5000, head_line(HEAD))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600, "a file that was there may be open to others"
    fill(keeping)
    keeping.close()
    assert link.is_symlink()
    assert isinstance(Recording.load(target).recorded[0].value, LeftOut)
    assert target.stat().st_size < 6000


def test_what_a_program_that_was_killed_has_left_is_no_hindrance(tmp_path):
    """Nor is a link there followed, which somebody else may have made in a folder that all can write to."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".run.jsonl.rewritten").symlink_to(tmp_path / "precious")
    keeping = InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))
    fill(keeping)
    keeping.close()
    assert (tmp_path / "precious").read_text() == "precious"
    assert {it.name for it in tmp_path.iterdir()} == {"precious", "run.jsonl"}
    assert isinstance(keeping.entries()[0].value, LeftOut)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_file_that_cannot_be_rewritten_ends_the_recording_and_nothing_else(tmp_path, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    descriptors = len(os.listdir("/dev/fd"))
    keeping = InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))
    if isinstance(error, OSError):
        monkeypatch.setattr(InFile, "_take_over", fail)
    else:
        monkeypatch.setattr(module, "_thinned", fail)
    fill(keeping)
    keeping.close()
    [record] = caplog.records
    assert record.getMessage().startswith("the recording ends here:")
    assert [it.name for it in tmp_path.iterdir()] == ["run.jsonl"]
    assert len(os.listdir("/dev/fd")) == descriptors
    assert keeping.entries()


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_writes_nothing_to_the_file(tmp_path):
    keeping = InFile(tmp_path / "run.jsonl", 5000, head_line(HEAD))
    keeping.add(Recorded(0.0, connecting()))
    child = os.fork()
    if child == 0:
        try:
            keeping.add(Recorded(1.0, opened()))
            keeping.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    keeping.add(Recorded(2.0, stopped()))
    keeping.close()
    assert [it.value for it in keeping.entries()] == [connecting(), stopped()]


# --- Real crashes -----------------------------------------------------------------------------------------------------


PROGRAM = """
    import itertools, resource, sys
    from rxnodes.recording import Message
    from rxnodes.recording.entries import Recorded
    from rxnodes.recording.keeping import InFile
    from rxnodes.recording.lines import Head, head_line
    from rxnodes.testing import events

    path, max_bytes, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    keeping = InFile(path, max_bytes, head_line(Head(events.AT, {})))
    for number in range(5000) if limit else itertools.count():
        message = Message(connection="chat", session=1, attempt=1, at=events.AT, direction="in", kind="text", size=number)
        keeping.add(Recorded(float(number), message))
        if number % 1000 == 0:
            print(number, flush=True)
    keeping.close()
"""


def run_program(path, max_bytes, limit):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), str(max_bytes), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own


@pytest.mark.slow
def test_a_program_can_be_killed_at_any_moment_also_while_the_file_is_rewritten(tmp_path):
    path = tmp_path / "run.jsonl"
    for lines in range(2, 8):
        # The next one overwrites what this one leaves.
        with run_program(path, 20_000, 0) as process:
            for _ in range(lines):
                reached = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        entries = Recording.load(path).recorded
        numbers = [int(it.time) for it in entries if isinstance(it.value, Message)]
        assert numbers[-1] >= reached
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert entries[0].value.messages == numbers[0]


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [1_000_000, 60_000])
def test_where_no_more_fits_the_recording_is_whole(tmp_path, max_bytes):
    """A file that the system lets grow no further, as on a disk that is full."""
    path = tmp_path / "run.jsonl"
    with run_program(path, max_bytes, 50_000) as process:
        _, errors = process.communicate()
    assert process.returncode == 0
    assert "the recording ends here" in errors
    recorded = Recording.load(path).recorded
    assert [it.value.size for it in recorded] == list(range(len(recorded)))
    assert path.stat().st_size == 50_000
