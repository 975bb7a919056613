"""Where a recording is kept while it is made, within its bounds: in memory, or in a file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import re
import stat
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse, Recorded
from rxnodes.recording.lines import line_of, read
from rxnodes.rx.forking import own

try:
    import fcntl
except ImportError:
    # As on Windows, which could not replace a file that is open either.
    has_locks = False
else:
    has_locks = True

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rxnodes.recording.entries import Entry

__all__ = ["InFile", "InMemory", "Keeping"]

logger = logging.getLogger("rxnodes")

#: What an entry takes in memory beside its payload, roughly.
_ENTRY_SIZE: Final = 200

#: The name of an event in its line, where no other quotation mark can stand without a backslash before it.
_EVENT: Final = re.compile(rb'"event":"(\w+)"')
_COUNT: Final = re.compile(rb'"count":(\d+)')

#: What goes first when there is too much.
_MESSAGE, _PULSE, _EVENT_OF_LIFE = range(3)


class Keeping(Protocol):
    """Keeps what is recorded. Called from any thread."""

    def add(self, *entries: Recorded[Entry]) -> None:
        """Keeps entries."""
        ...

    def entries(self) -> list[Recorded[Entry]]:
        """What is kept, in the order of time."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


# --- In memory --------------------------------------------------------------------------------------------------------


class InMemory:
    """Keeps entries in memory.

    Args:
        max_bytes: How much they may take, roughly. Beyond that, the oldest messages are given up, one for each that
            comes; then pulses, and lifecycle events last.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # By rank, each with its number: what is told at the same time stays in its order.
        self._kept: tuple[deque[tuple[int, Recorded[Entry]]], ...] = (deque(), deque(), deque())
        self._gone = [0, 0, 0]
        self._numbers = itertools.count()
        self._size = 0

    def add(self, *entries: Recorded[Entry]) -> None:
        """Keeps entries."""
        with self._lock:
            for it in entries:
                self._kept[_rank(it.value)].append((next(self._numbers), it))
                self._size += _size(it.value)
            while self._size > self._max_bytes:
                self._give_up_one()

    def _give_up_one(self) -> None:
        rank = next(rank for rank, kept in enumerate(self._kept) if kept)
        _, it = self._kept[rank].popleft()
        self._gone[rank] += _count(it.value)
        self._size -= _size(it.value)

    def entries(self) -> list[Recorded[Entry]]:
        """What is kept."""
        with self._lock:
            numbered = sorted(itertools.chain(*self._kept), key=lambda it: (it[1].time, it[0]))
            left_out: list[Recorded[Entry]] = [Recorded(0.0, _left_out(self._gone))] if any(self._gone) else []
        return [*left_out, *(it for _, it in numbered)]

    def close(self) -> None:
        """Nothing more comes."""


def _left_out(gone: Sequence[int]) -> LeftOut:
    """How many went, by rank."""
    messages, pulses, events = gone
    return LeftOut(messages=messages, pulses=pulses, events=events)


def _size(entry: Entry) -> int:
    payload = entry.payload if isinstance(entry, Message) else None
    return _ENTRY_SIZE + (0 if payload is None else len(payload))


def _rank(entry: Entry) -> int:
    if isinstance(entry, Message | Messages):
        return _MESSAGE
    return _PULSE if isinstance(entry, Pulse) else _EVENT_OF_LIFE


def _count(entry: Entry) -> int:
    return entry.count if isinstance(entry, Messages | Pulse) else 1


# --- In a file --------------------------------------------------------------------------------------------------------


class InFile:
    """Keeps entries as lines of a file. Each is with the system when `add` returns, so that no crash loses it.

    A file that grows too large is written anew in a thread, without the entries that go, and then takes the place of
    the other. Lines that come meanwhile are written to the old file, and behind the new one.

    Only the owner can read the file, because payloads may be secret. It is locked while it is written, and a forked
    process writes nothing to it.

    Args:
        path: The file; one that is there is overwritten.
        max_bytes: How large it may become. Beyond that, half of it is given up.
        head: Its first line.
        on_failure: Called in whatever thread once it cannot be written any more.

    Raises:
        OSError: If it cannot be written, is no regular file, or another recorder writes to it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int,
        head: bytes,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        # Absolute, because the program may go to another folder; and what a link leads to, so that the link stays.
        self._path = Path(os.path.realpath(path))
        self._max_bytes = max_bytes
        self._head = head
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._descriptor: int | None = _begun(self._path, head)
        self._size = 0
        self._since: list[bytes] = []
        self._rewriting: threading.Thread | None = None
        own(self)

    def disown(self) -> None:
        """In a forked process: the file is the parent's."""
        # A thread of the parent may have held it.
        self._lock = threading.Lock()
        self._rewriting = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def add(self, *entries: Recorded[Entry]) -> None:
        """Writes entries. If that fails, the recording ends there, and a log record says so."""
        lines = b"".join(map(line_of, entries))
        with self._lock:
            if self._descriptor is None:
                return
            try:
                _write(self._descriptor, lines)
            except OSError as error:
                self._give_up(error)
                return
            self._size += len(lines)
            if self._rewriting is not None:
                self._since.append(lines)
            elif self._size > self._max_bytes:
                self._rewriting = threading.Thread(target=self._rewrite, name="rxnodes-recording", daemon=True)
                self._rewriting.start()

    def entries(self) -> list[Recorded[Entry]]:
        """What is in the file.

        Raises:
            OSError: If it cannot be read.
        """
        with self._path.open("rb") as file:
            return read(file)[1]

    def close(self) -> None:
        """Closes the file, once it is not being rewritten any more."""
        while (rewriting := self._rewriting) is not None:
            rewriting.join()
        if self._descriptor is not None and self._size > self._max_bytes:
            # It has grown too large while it was being rewritten.
            self._rewrite()
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _give_up(self, error: Exception) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None
        why = error.strerror if isinstance(error, OSError) else repr(error)
        logger.error("the recording ends here: %s cannot be written: %s", self._path, why)
        self._on_failure()

    # Where it has grown too large

    def _rewrite(self) -> None:
        # Of one name, so that what a program that was killed meanwhile has left goes with the next one.
        beside = self._path.with_name(f".{self._path.name}.rewritten")
        try:
            with self._lock:
                # All that is in the file by now; what comes from here on, `_since` has.
                size, self._since = self._size, []
            with self._path.open("rb") as file:
                file.seek(len(self._head))
                kept = _thinned(_lines_within(file, size), self._max_bytes // 2)
            beside.unlink(missing_ok=True)
            descriptor = _opened(beside, os.O_EXCL)
            try:
                _lock(descriptor, beside)
                _write(descriptor, self._head + b"".join(kept))
                with self._lock:
                    self._take_over(beside, descriptor, sum(map(len, kept)))
            except BaseException:
                os.close(descriptor)
                raise
        except Exception as error:  # noqa: BLE001 - somebody else may have written to the file, or memory be short
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            with self._lock:
                self._rewriting = None
                if self._descriptor is not None:
                    self._give_up(error)

    def _take_over(self, beside: Path, descriptor: int, size: int) -> None:
        """The new file takes the place of the old one."""
        _write(descriptor, b"".join(self._since))
        beside.replace(self._path)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = size + sum(map(len, self._since))
        self._since = []
        self._rewriting = None


def _begun(path: Path, head: bytes) -> int:
    """Opens the file for this recorder alone, and writes its first line in place of what was there."""
    if not has_locks:
        raise OSError(errno.ENOTSUP, "this system cannot lock a file, so recordings stay in memory", str(path))
    # A pipe without a reader, to which this would be the writer, fails and does not wait.
    descriptor = _opened(path, os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            # It could neither be read again nor be replaced.
            raise OSError(errno.EINVAL, "not a regular file", str(path))  # noqa: TRY301 - closed below
        _lock(descriptor, path)
        # One that was there may be open to others.
        os.fchmod(descriptor, _FOR_OWNER)
        os.ftruncate(descriptor, 0)
        _write(descriptor, head)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


_FOR_OWNER: Final = 0o600


def _opened(path: Path, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, _FOR_OWNER)


def _lock(descriptor: int, path: Path) -> None:
    """Locks a file until it is closed, also by the death of the process."""
    is_ours = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportPossiblyUnboundVariable]
        # Another recorder may have rewritten the file, and ended, since this one was opened.
        is_ours = os.path.samestat(os.fstat(descriptor), path.stat())
    except BlockingIOError:
        is_ours = False
    except OSError as error:
        # Some file systems have no locks.
        if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}:
            raise
    if not is_ours:
        raise OSError(errno.EBUSY, "another recorder writes to it", str(path))


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


T = TypeVar("T")


def _politely(items: Iterable[T]) -> Iterator[T]:
    """Lets other threads run now and then. Otherwise the program, at each write, would wait for its turn for long."""
    for number, item in enumerate(items):
        if number % 256 == 0:
            time.sleep(0)
        yield item


def _lines_within(file: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The lines of so many bytes."""
    for line in _politely(file):
        if size <= 0:
            return
        size -= len(line)
        yield line


def _thinned(lines: Iterable[bytes], budget: int) -> list[bytes]:
    """The lines that fit, behind one that says how many went: the oldest messages first, lifecycle events last."""
    gone = [0, 0, 0]
    kept: list[bytes] = []
    ranks: list[int] = []
    size = 0
    for line in lines:
        name = _name(line)
        if name == b"LeftOut":
            before = dict(_numbers(line))
            gone = [count + int(before[name]) for count, name in zip(gone, _LEFT_OUT, strict=True)]
            continue
        kept.append(line)
        ranks.append(_RANKS.get(name, _EVENT_OF_LIFE))
        size += len(line)
    for rank in (_MESSAGE, _PULSE, _EVENT_OF_LIFE):
        for number, line in _politely(enumerate(kept)):
            if size <= budget:
                break
            if ranks[number] == rank:
                count = _COUNT.search(line)
                gone[rank] += 1 if count is None else int(count[1])
                size -= len(line)
                kept[number] = b""
    return [line_of(Recorded(0.0, _left_out(gone))), *kept]


_RANKS: Final = {b"Message": _MESSAGE, b"Messages": _MESSAGE, b"Pulse": _PULSE}


def _name(line: bytes) -> bytes:
    found = _EVENT.search(line)
    return b"" if found is None else found[1]


_LEFT_OUT: Final = ("messages", "pulses", "events")


def _numbers(line: bytes) -> list[tuple[str, str]]:
    return re.findall(r'"(messages|pulses|events)":(\d+)', line.decode())
