"""The engine of a fleet in memory, in virtual time, with faults: what workers and observers are tested on.

    engine = MemoryEngine()
    store = engine.store()           # one for each member
    store.faults = [lost_answer]     # of its next writes, one after the other; `Chance` for faults at random
    store.cut(); store.restore()     # the member's connection
    engine.stop(); engine.start()    # the engine itself
    engine.lose(3)                   # forgets the last entries of the log, as a server that lost its disk's last writes

It keeps what `rxnodes.fleet.store` promises, and `tests/fleet/test_store.py` holds both it and NATS to that.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from rxnodes.fleet.store import (
    Logged,
    LogWatcher,
    Message,
    NobodyThere,
    Refused,
    Seen,
    Stored,
    StoreFull,
    TooLarge,
    Unknown,
    Watch,
    Watcher,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Bytes that an engine adds to a message, at most.
FRAMING = 64

# --- Faults -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What becomes of one write.

    The answer comes `after` seconds, or never (then the writer has timed out before). The write is done `times` times,
    the first time when the request arrives, `arrives` seconds from now.
    """

    name: str
    arrives: float | None = None
    times: int = 1
    is_answered: bool = True
    is_refused: bool = False


well = Fault("well")
lost_request = Fault("lost request", times=0, is_answered=False)
lost_answer = Fault("lost answer", is_answered=False)
late_request = Fault("late request", arrives=5.0, is_answered=False)
doubled = Fault("doubled", times=2)
refused_for_nothing = Fault("refused for nothing", times=0, is_refused=True)
refused_though_done = Fault("refused though done", is_refused=True)

FAULTS = (lost_request, lost_answer, late_request, doubled, refused_for_nothing, refused_though_done)


class Chance:
    """Faults at random, with a printed seed: `store.faults = Chance(seed, 0.2)`."""

    def __init__(self, seed: int, probability: float, faults: Iterable[Fault] = FAULTS) -> None:
        self._random = Random(seed)
        self._probability = probability
        self._faults = tuple(faults)

    def __iter__(self) -> Iterator[Fault]:
        while True:
            yield self._random.choice(self._faults) if self._random.random() < self._probability else well


# --- The engine -------------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """Values by name, and all their changes."""

    values: dict[str, Stored] = field(default_factory=dict)
    changes: list[Seen] = field(default_factory=list)

    def write(self, name: str, value: bytes | None, expected: int) -> int:
        stands = self.values.get(name)
        if (stands.revision if stands else 0) != expected:
            raise Refused
        self.changes.append(Seen(name, value, len(self.changes) + 1))
        if value is None:
            del self.values[name]
        else:
            self.values[name] = Stored(value, len(self.changes))
        return len(self.changes)


@dataclass
class MemoryEngine:
    """What all members of a fleet share."""

    latency: float = 0.001
    timeout: float = 1.0
    max_payload: int = 1 << 20
    is_full: bool = False
    is_up: bool = True
    leases: Bucket = field(default_factory=Bucket)
    records: Bucket = field(default_factory=Bucket)
    log: list[Logged] = field(default_factory=list)
    lasts: dict[str, Logged] = field(default_factory=dict)
    kept: list[Logged] = field(default_factory=list)
    generation: int = 0
    stores: list[MemoryStore] = field(default_factory=list)
    under_way: deque[Callable[[], None]] = field(default_factory=deque)

    def store(self) -> MemoryStore:
        """One more member's way to it."""
        store = MemoryStore(self)
        self.stores.append(store)
        return store

    def stop(self) -> None:
        """As a server that is killed: all members are cut off. What was acknowledged stays."""
        self.is_up = False
        self.tell()

    def start(self) -> None:
        self.is_up = True
        self.tell()

    def lose(self, count: int) -> None:
        """Forgets the last entries of the log; whoever watches is told as soon as it is connected (again)."""
        del self.log[len(self.log) - count :]
        self.lasts = {entry.name: entry for entry in self.log}
        self.generation += 1
        self.tell()

    def line(self, name: str) -> list[Logged]:
        """The entries of one connection."""
        return [entry for entry in self.log if entry.name == name]

    def append(self, name: str, value: bytes, expected: int) -> int:
        last = self.lasts.get(name)
        if (last.sequence if last else 0) != expected:
            raise Refused
        sequence = self.log[-1].sequence + 1 if self.log else 1
        self.lasts[name] = Logged(name, value, sequence)
        self.log.append(self.lasts[name])
        self.tell()
        return sequence

    def tell(self) -> None:
        for store in self.stores:
            store.tell()

    def deliver_next(self) -> None:
        self.under_way.popleft()()


# --- A member's way to it ---------------------------------------------------------------------------------------------


class MemoryStore:
    """A `Store` on a `MemoryEngine`."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.faults: Iterable[Fault] = ()
        self._faults_from: Iterable[Fault] | None = None
        self._is_open = False
        self._is_cut = False
        self._watches: list[Following] = []
        self._told: list[Callable[[bool], None]] = []
        self._was_connected = False
        self.heard: dict[str, list[Callable[[Message], None]]] = defaultdict(list)
        self.served: dict[str, list[Callable[[MemoryRequest], None]]] = defaultdict(list)

    def cut(self) -> None:
        self._is_cut = True
        self.tell()

    def restore(self) -> None:
        self._is_cut = False
        self.tell()

    async def open(self) -> None:
        self._is_open = True
        self.tell()
        while not self.is_connected:
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for watch in self._watches:
            watch.close()
        self._is_open = False
        self.tell()

    @property
    def is_connected(self) -> bool:
        return self._is_open and not self._is_cut and self.engine.is_up

    @property
    def max_payload(self) -> int:
        return self.engine.max_payload

    def on_connection(self, tell: Callable[[bool], None]) -> Watch:
        self._told.append(tell)
        tell(self.is_connected)
        return closing(self._told.remove, tell)

    def tell(self) -> None:
        """Something has changed: the connection, or what the engine holds."""
        if self.is_connected != self._was_connected:
            self._was_connected = self.is_connected
            for tell in list(self._told):
                tell(self.is_connected)
        for watch in list(self._watches):
            watch.tell()

    # Writes and reads.

    async def put_lease(self, worker: str, value: bytes, revision: int) -> int:
        return await self._write(lambda: self.engine.leases.write(worker, value, revision), value)

    async def delete_lease(self, worker: str, revision: int) -> None:
        await self._write(lambda: self.engine.leases.write(worker, None, revision))

    async def read_lease(self, worker: str) -> Stored | None:
        return await self._read(lambda: self.engine.leases.values.get(worker))

    async def write_record(self, name: str, value: bytes, revision: int) -> int:
        return await self._write(lambda: self.engine.records.write(name, value, revision), value)

    async def read_record(self, name: str) -> Stored | None:
        return await self._read(lambda: self.engine.records.values.get(name))

    async def append(self, name: str, value: bytes, expected: int) -> int:
        return await self._write(lambda: self.engine.append(name, value, expected), value)

    async def last(self, name: str) -> Stored | None:
        def read() -> Stored | None:
            entry = self.engine.lasts.get(name)
            return Stored(entry.value, entry.sequence) if entry else None

        return await self._read(read)

    async def _write(self, write: Callable[[], int], value: bytes = b"") -> int:
        if len(value) + FRAMING > self.max_payload:
            raise TooLarge
        self._check()
        if self.engine.is_full:
            raise StoreFull
        fault = self._next_fault()
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            # The outcome of the first time is what the engine answers.
            for _ in range(fault.times if self.engine.is_up else 0):
                try:
                    revision = write()
                except Refused as refused:
                    if not done.done():
                        done.set_exception(refused)
                else:
                    if not done.done():
                        done.set_result(revision)
            self.engine.tell()

        asyncio.get_running_loop().call_later(fault.arrives or self.engine.latency, arrive)
        try:
            async with asyncio.timeout(self.engine.timeout):
                if not fault.is_answered:
                    await asyncio.Event().wait()
                await asyncio.sleep(2 * self.engine.latency)
                self._check()
                if fault.is_refused:
                    raise Refused
                return await done
        except TimeoutError as error:
            raise Unknown from error
        finally:
            # Nobody may take what came too late.
            done.add_done_callback(lambda it: it.cancelled() or it.exception())

    async def _read(self, read: Callable[[], Stored | None]) -> Stored | None:
        self._check()
        await asyncio.sleep(2 * self.engine.latency)
        self._check()
        return read()

    def _check(self) -> None:
        if not self.is_connected:
            raise Unknown

    def _next_fault(self) -> Fault:
        if self._faults_from is not self.faults:
            self._faults_from, self._left = self.faults, iter(self.faults)
        return next(self._left, well)

    async def keep(self, name: str, value: bytes) -> int:
        def write() -> int:
            self.engine.kept.append(Logged(name, value, len(self.engine.kept) + 1))
            return len(self.engine.kept)

        return await self._write(write, value)

    async def last_kept(self, name: str) -> int:
        def read() -> Stored:
            return Stored(b"", max((it.sequence for it in self.engine.kept if it.name == name), default=0))

        stood = await self._read(read)
        assert stood is not None
        return stood.revision

    def watch_kept(self, watcher: LogWatcher, name: str, *, behind: int) -> Watch:
        return self._watch(KeptFollowing(self, watcher, name, behind))

    # Watches.

    def watch_leases(self, watcher: Watcher) -> Watch:
        return self._watch(BucketFollowing(self, watcher, self.engine.leases))

    def watch_records(self, watcher: Watcher) -> Watch:
        return self._watch(BucketFollowing(self, watcher, self.engine.records))

    def watch_log(self, watcher: LogWatcher, *, since: str = "last", name: str | None = None) -> Watch:
        return self._watch(LogFollowing(self, watcher, since, name))

    def _watch(self, following: Following) -> Watch:
        self._watches.append(following)
        following.tell()
        return following

    # Plain messages.

    def publish(self, subject: str, payload: bytes) -> bool:
        if len(payload) + FRAMING > self.max_payload:
            raise TooLarge
        if self.is_connected:
            self._hand_on("heard", Message(subject, payload), lambda take, message: take(message))
        return self.is_connected

    def subscribe(self, subject: str, on_message: Callable[[Message], None]) -> Watch:
        self.heard[subject].append(on_message)
        return closing(self.heard[subject].remove, on_message)

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109
        if len(payload) + FRAMING > self.max_payload:
            raise TooLarge
        self._check()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        message = Message(subject, payload)
        if not self._hand_on("served", message, lambda take, it: take(MemoryRequest(it, self, answered))):
            raise NobodyThere
        try:
            async with asyncio.timeout(timeout):
                return await answered
        except TimeoutError as error:
            raise Unknown from error

    def serve(self, subject: str, on_request: Callable[[MemoryRequest], None]) -> Watch:
        self.served[subject].append(on_request)
        return closing(self.served[subject].remove, on_request)

    def _hand_on(self, kind: str, message: Message, hand: Callable[[Callable, Message], None]) -> int:
        """Hands it to all who listen now, a little later; gives how many."""
        takers = [
            (store, take)
            for store in self.engine.stores
            if store.is_connected
            for pattern, listening in getattr(store, kind).items()
            if matches(pattern, message.subject)
            for take in listening
        ]

        def arrive() -> None:
            for store, take in takers:
                if store.is_connected:
                    hand(take, message)

        if takers:
            # Timers of the same time have no order.
            self.engine.under_way.append(arrive)
            asyncio.get_running_loop().call_later(self.engine.latency, self.engine.deliver_next)
        return len(takers)


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of the pattern's, as NATS has it."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(tokens) >= len(wanted) and all(map(token_matches, wanted[:-1], tokens))
    return len(tokens) == len(wanted) and all(map(token_matches, wanted, tokens))


def token_matches(wanted: str, token: str) -> bool:
    return wanted in ("*", token)


@dataclass
class MemoryRequest:
    """A request, and where its answer goes."""

    message: Message
    asked_by: MemoryStore
    answered: asyncio.Future[bytes]

    def answer(self, payload: bytes) -> None:
        def arrive() -> None:
            if self.asked_by.is_connected and not self.answered.done():
                self.answered.set_result(payload)

        asyncio.get_running_loop().call_later(self.asked_by.engine.latency, arrive)


def closing(how: Callable[..., object], *args: object) -> Watch:
    """A watch that is closed by a call."""
    watch = ExitStack()
    watch.callback(how, *args)
    return watch


class Following:
    """Tells a watcher what has changed, a latency later, for as long as its store is connected."""

    def __init__(self, store: MemoryStore, watcher: Watcher | LogWatcher) -> None:
        self.store = store
        self.watcher = watcher
        self._is_current: bool | None = None
        self._is_due = False
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True

    def tell(self) -> None:
        if not self.store.is_connected:
            self._told_current(current=False)
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(self.store.engine.latency, self._catch_up)

    def _catch_up(self) -> None:
        self._is_due = False
        if self.store.is_connected and not self._is_closed:
            self.tell_news()
            self._told_current(current=True)

    def _told_current(self, *, current: bool) -> None:
        if self._is_current is not current and not self._is_closed:
            self._is_current = current
            self.watcher.is_current(current)

    def tell_news(self) -> None:
        raise NotImplementedError


class BucketFollowing(Following):
    watcher: Watcher

    def __init__(self, store: MemoryStore, watcher: Watcher, bucket: Bucket) -> None:
        super().__init__(store, watcher)
        self._bucket = bucket
        self._shown: int | None = None

    def tell_news(self) -> None:
        if self._shown is None:
            news = [Seen(name, it.value, it.revision) for name, it in self._bucket.values.items()]
        else:
            # Of each name the last change alone, as NATS has it.
            news = list({it.name: it for it in self._bucket.changes[self._shown :]}.values())
        self._shown = len(self._bucket.changes)
        for seen in sorted(news, key=lambda it: it.revision):
            self.watcher.seen(seen)


class LogFollowing(Following):
    watcher: LogWatcher

    def __init__(self, store: MemoryStore, watcher: LogWatcher, since: str, name: str | None) -> None:
        super().__init__(store, watcher)
        self._since = since
        self._name = name
        self._shown: int | None = None
        self._generation = store.engine.generation

    def tell_news(self) -> None:
        engine = self.store.engine
        if self._generation != engine.generation:
            self._generation, self._shown = engine.generation, None
            self._told_current(current=False)
            self.watcher.gap("the log has gone back")
        log = [entry for entry in engine.log[self._seen(engine.log) :] if self._name in (None, entry.name)]
        if self._shown is not None or self._since == "oldest":
            news = log
        else:
            news = sorted((engine.lasts[name] for name in {it.name for it in log}), key=lambda entry: entry.sequence)
        self._shown = engine.log[-1].sequence if engine.log else 0
        for entry in news:
            self.watcher.logged(entry)

    def _seen(self, log: list[Logged]) -> int:
        """How many entries of the log have been told. No sequence is left out: nothing but the last ones goes."""
        return bisect_right(log, self._shown or 0, key=lambda entry: entry.sequence)


class KeptFollowing(Following):
    watcher: LogWatcher

    def __init__(self, store: MemoryStore, watcher: LogWatcher, name: str, behind: int) -> None:
        super().__init__(store, watcher)
        self._name = name
        self._shown = behind

    def tell_news(self) -> None:
        news = self.store.engine.kept[self._shown :]
        self._shown += len(news)
        for entry in news:
            if entry.name == self._name:
                self.watcher.logged(entry)
