"""Keeps the entries of a recording, within bounds: in memory, or in a file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import re
import stat
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse, Recorded
from rxnodes.recording.lines import line_of, read
from rxnodes.rx.forking import own

try:
    import fcntl
except ImportError:
    # As on Windows, which cannot replace an open file either.
    has_locks = False
else:
    has_locks = True

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rxnodes.recording.entries import Entry

__all__ = ["InFile", "InMemory", "Keeping"]

logger = logging.getLogger("rxnodes")

#: The bytes that an entry takes in memory beside its payload, roughly.
_ENTRY_SIZE: Final = 200

#: The kind of entry in a line. In a text, each quotation mark has a backslash before it, so that no text matches.
_EVENT: Final = re.compile(rb'"event":"(\w+)"')
_COUNT: Final = re.compile(rb'"count":(\d+)')

#: In which order entries are given up when there are too many.
_MESSAGE, _PULSE, _EVENT_OF_LIFE = range(3)
_RANKS: Final = {"Message": _MESSAGE, "Messages": _MESSAGE, "Pulse": _PULSE}

# --- In memory --------------------------------------------------------------------------------------------------------


class InMemory:
    """Keeps entries in memory. Any thread may call it.

    Args:
        max_bytes: How many bytes they may take, roughly. Beyond that it gives up the oldest messages; when no message
            is left, the oldest pulses, and lifecycle events last.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # By rank, each with a number: entries of the same time stay in their order.
        self._kept: tuple[deque[tuple[int, Recorded[Entry]]], ...] = (deque(), deque(), deque())
        self._gone: Counter[int] = Counter()
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
        """The kept entries, in the order of time."""
        with self._lock:
            numbered = sorted(itertools.chain(*self._kept), key=lambda it: (it[1].time, it[0]))
            left_out = [_left_out(self._gone)] if self._gone else []
        return [*left_out, *(it for _, it in numbered)]

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


def _left_out(gone: Mapping[int, int]) -> Recorded[Entry]:
    """An entry that says how many were given up, by their rank."""
    return Recorded(0.0, LeftOut(messages=gone[_MESSAGE], pulses=gone[_PULSE], events=gone[_EVENT_OF_LIFE]))


def _size(entry: Entry) -> int:
    payload = entry.payload if isinstance(entry, Message) else None
    return _ENTRY_SIZE + (0 if payload is None else len(payload))


def _rank(entry: Entry) -> int:
    return _RANKS.get(type(entry).__name__, _EVENT_OF_LIFE)


def _count(entry: Entry) -> int:
    return entry.count if isinstance(entry, Messages | Pulse) else 1


# --- In a file --------------------------------------------------------------------------------------------------------


class InFile:
    """Keeps entries as lines of a file. Any thread may call it.

    The system has each line when `add` returns, so that a crash of the program loses none.

    When the file grows too large, a thread writes a new file without the entries that are given up, and replaces the
    old file by it. Lines that come meanwhile are written to both.

    Only the owner can read the file, because payloads may be secret. The file is locked, and a forked process writes
    nothing to it.

    Args:
        path: The file. An existing one is overwritten.
        max_bytes: How large it may become. Beyond that, half of it is given up.
        head: Its first line.
        on_failure: Called in any thread when the file cannot be written any more.

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
        # Absolute, because the program may change its folder; without links, so that a link is not replaced.
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
        """The entries of the file, in the order of time.

        Raises:
            OSError: If it cannot be read.
        """
        with self._path.open("rb") as file:
            return read(file)[1]

    def close(self) -> None:
        """Closes the file, once no thread rewrites it."""
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

    def _rewrite(self) -> None:
        # Always the same name, so that the next rewriting removes what a killed program has left.
        beside = self._path.with_name(f".{self._path.name}.rewritten")
        try:
            with self._lock:
                # The file has so much by now. `_since` takes what comes from here on.
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
        except Exception as error:  # noqa: BLE001 - others may have written to the file, or memory is short
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            with self._lock:
                self._rewriting = None
                if self._descriptor is not None:
                    self._give_up(error)

    def _take_over(self, beside: Path, descriptor: int, size: int) -> None:
        """Replaces the old file by the new one."""
        _write(descriptor, b"".join(self._since))
        beside.replace(self._path)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = size + sum(map(len, self._since))
        self._since = []
        self._rewriting = None


def _begun(path: Path, head: bytes) -> int:
    """Opens the file for this recorder alone, empties it, and writes its first line."""
    if not has_locks:
        raise OSError(errno.ENOTSUP, "this system cannot lock a file, so recordings stay in memory", str(path))
    # O_NONBLOCK: opening a pipe without a reader fails, and does not wait for one.
    descriptor = _opened(path, os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            # It could be neither read again nor replaced.
            raise OSError(errno.EINVAL, "not a regular file", str(path))  # noqa: TRY301 - closed below
        _lock(descriptor, path)
        # Others may have access to an existing file.
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
    """Locks a file until it is closed; the system closes it when the process dies."""
    is_ours = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportPossiblyUnboundVariable]
        # Since it was opened, another recorder may have replaced the file, and ended.
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
    """Lets other threads run now and then. Otherwise the program would wait long for its turn, at each write."""
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
    """The lines that fit, behind one that says how many were given up."""
    gone: Counter[int] = Counter()
    kept: list[bytes] = []
    ranks: list[int] = []
    size = 0
    for line in lines:
        found = _EVENT.search(line)
        name = "" if found is None else found[1].decode()
        if name == "LeftOut":
            before = json.loads(line)
            gone.update({_MESSAGE: before["messages"], _PULSE: before["pulses"], _EVENT_OF_LIFE: before["events"]})
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
    return [line_of(_left_out(gone)), *kept]


Keeping: TypeAlias = InMemory | InFile
