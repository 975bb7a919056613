"""What a fleet asks of the engine behind it: leases, records, the log, and plain messages.

Workers and observers know these protocols alone. `rxnodes.fleet.nats` keeps them over NATS.

**A refusal decides nothing.** `Refused` and `Unknown` say only that an answer did not say yes: the write may stand all
the same, for an acknowledgement can get lost, and a server in trouble refuses the rightful writer too. The writer
reads what stands now (`last`, `read_record`), and decides by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LogWatcher",
    "Logged",
    "Message",
    "NobodyThere",
    "Refused",
    "Request",
    "Seen",
    "Store",
    "StoreError",
    "StoreFull",
    "Stored",
    "TooLarge",
    "Unknown",
    "Watch",
    "Watcher",
]


class StoreError(Exception):
    """The base of what a store raises. None of these reaches a user of rxnodes as it is."""


class Refused(StoreError):  # noqa: N818 - says what happened
    """The engine says that another revision or sequence stands there than was expected. It may be wrong."""


class Unknown(StoreError):  # noqa: N818 - says what happened
    """No answer came in time, or none that says anything. The request may have been carried out, or may still be."""


class StoreFull(StoreError):  # noqa: N818 - says what happened
    """The engine has no room left, or may not use it. Nothing was written, and users have to know."""


class TooLarge(StoreError):  # noqa: N818 - says what happened
    """More bytes than the engine takes at once (`Store.max_payload`): nothing was written."""


class NobodyThere(StoreError):  # noqa: N818 - says what happened
    """Nobody listens on that subject, so the request has certainly reached nobody."""


# --- What is seen -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as it stands there.

    Attributes:
        value: Its bytes.
        revision: Its revision, or its sequence in the log. The next write behind it has to expect this number.
    """

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease or a record, as a watch shows it.

    Attributes:
        name: The worker's id, or the connection's name.
        value: Its bytes; `None`: it is gone.
        revision: Its revision. It rises with every change, over all names; where it goes back, the engine has lost
            writes that it had acknowledged.
    """

    name: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log.

    Attributes:
        name: The connection's name.
        value: Its bytes.
        sequence: Its number in the whole log, which is shared by all connections.
    """

    name: str
    value: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Message:
    """A plain message.

    Attributes:
        subject: What it was published on, without the fleet's prefix.
        payload: Its bytes.
    """

    subject: str
    payload: bytes


class Request(Protocol):
    """A plain message whose sender waits for an answer."""

    @property
    def message(self) -> Message:
        """What was asked."""
        ...

    def answer(self, payload: bytes) -> None:
        """Answers, once. The answer may get lost: then the sender knows nothing."""
        ...


class Watch(Protocol):
    """Something that goes on until it is closed."""

    def close(self) -> None:
        """Ends it: nothing is called any more. A second call does nothing."""
        ...


class Watcher(Protocol):
    """Watches leases or records. The store calls it on the event loop, and it must not raise."""

    def seen(self, seen: Seen) -> None:
        """A value: first all that are there, then every change; after a gap again all that are there.

        A name that went during the gap comes with the value `None`. A value may come twice.
        """
        ...

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - the one thing it tells
        """`True`: all that is there has been shown, and changes come as they are made. `False`: that is in doubt.

        It is in doubt where the connection is away, or the engine has sent no sign of life for some heartbeats (0.5 s
        each). A watcher that counts how long something has stood unchanged begins anew with every `True`.
        """
        ...


class LogWatcher(Protocol):
    """Watches the log. The store calls it on the event loop, and it must not raise."""

    def logged(self, entry: Logged) -> None:
        """An entry. Each comes once, in order; after a `gap` all come again, from where the watch began."""
        ...

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as in Watcher
        """As in `Watcher`: `True` behind the last entry that was there."""
        ...

    def gap(self, reason: str) -> None:
        """The log has gone back, or is another, so entries that were shown may be gone. All are shown again."""
        ...


# --- What is asked ----------------------------------------------------------------------------------------------------


class Store(Protocol):
    """What a fleet asks of the engine behind it.

    Names (connections', workers') are any text: the store encodes them. Nothing is kept back to be written later: what
    cannot be handed to the engine at once raises `Unknown`, though the engine may have got some of it.
    """

    async def open(self) -> None:
        """Connects, and makes what is not there yet.

        Raises:
            ConnectError: If it cannot be used as it is: credentials, another version's or another fleet's settings.
                Where nothing answers, it waits and tries again until it is cancelled.
        """
        ...

    async def close(self) -> None:
        """Ends all watches and the connection. A second call does nothing."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether the engine can be reached, as far as is known."""
        ...

    @property
    def max_payload(self) -> int:
        """How many bytes the engine takes at once, header and all."""
        ...

    def on_connection(self, tell: Callable[[bool], None]) -> Watch:
        """Tells at once whether it `is_connected`, then every change."""
        ...

    # Leases: one for each worker.

    async def put_lease(self, worker: str, value: bytes, revision: int) -> int:
        """Writes a worker's lease behind the `revision` that stands there; 0: only where none does.

        Returns:
            Its revision.

        Raises:
            Refused, Unknown, StoreFull: See there.
        """
        ...

    async def read_lease(self, worker: str) -> Stored | None:
        """The lease as it stands; `None`: none does.

        Raises:
            Unknown: If no answer came.
        """
        ...

    async def delete_lease(self, worker: str, revision: int) -> None:
        """Takes a lease away, if `revision` is what stands there. Raises as `put_lease` does."""
        ...

    def watch_leases(self, watcher: Watcher) -> Watch:
        """Shows all leases, and every change."""
        ...

    # Records: one for each connection.

    async def write_record(self, name: str, value: bytes, revision: int) -> int:
        """Writes a connection's record behind the `revision` that stands there; 0: only where none does.

        Returns:
            Its revision.

        Raises:
            Refused, Unknown, StoreFull, TooLarge: See there.
        """
        ...

    async def read_record(self, name: str) -> Stored | None:
        """The record as it stands; `None`: none does.

        Raises:
            Unknown: If no answer came.
        """
        ...

    def watch_records(self, watcher: Watcher) -> Watch:
        """Shows all records, and every change."""
        ...

    # The log: one line of entries for each connection.

    async def append(self, name: str, value: bytes, expected: int) -> int:
        """Appends to a connection's line, behind the entry with the sequence `expected`; 0: only as the first.

        Args:
            name: The connection.
            value: The entry.
            expected: The sequence of the last entry of this connection.

        Returns:
            Its sequence.

        Raises:
            Refused, Unknown, StoreFull, TooLarge: See there.
        """
        ...

    async def last(self, name: str) -> Stored | None:
        """The last entry of a connection's line; `None`: there is none.

        Raises:
            Unknown: If no answer came.
        """
        ...

    def watch_log(
        self, watcher: LogWatcher, *, since: Literal["last", "oldest"] = "last", name: str | None = None
    ) -> Watch:
        """Shows the log, and every new entry.

        Args:
            watcher: What is called.
            since: From the last entry of each connection, or from the oldest that is kept.
            name: Of this connection alone.
        """
        ...

    # Kept messages: one line for each connection that keeps them.

    async def keep(self, name: str, value: bytes) -> int:
        """Appends to the messages that are kept of a connection. Where no answer comes, the value may be there twice.

        Returns:
            Its sequence.

        Raises:
            Unknown, StoreFull, TooLarge: See there.
        """
        ...

    async def last_kept(self, name: str) -> int:
        """The sequence of the last value that is kept of a connection's messages; 0: none is.

        Raises:
            Unknown: If no answer came.
        """
        ...

    def watch_kept(self, watcher: LogWatcher, name: str, *, behind: int) -> Watch:
        """Shows the values that are kept of a connection's messages behind this sequence, and all that come."""
        ...

    # Plain messages, at most once. A subject is a few tokens with dots between them, behind the fleet's prefix.

    def publish(self, subject: str, payload: bytes) -> bool:
        """Publishes, and returns at once.

        Returns:
            Whether it was handed on. It was not where the engine is away, or has not taken the messages before it.

        Raises:
            TooLarge: See there.
        """
        ...

    def subscribe(self, subject: str, on_message: Callable[[Message], None]) -> Watch:
        """Tells every message on a subject, which may have `*` for a token and `>` for the rest; again after a gap."""
        ...

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109 - handed to the engine
        """Asks, and waits `timeout` seconds for one answer.

        Raises:
            NobodyThere, Unknown, TooLarge: See there.
        """
        ...

    def serve(self, subject: str, on_request: Callable[[Request], None]) -> Watch:
        """Tells every request on a subject."""
        ...
