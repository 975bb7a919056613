"""Where a fleet lies on NATS: two buckets, the log, kept messages, and the subjects of plain messages."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rxnodes.errors import ConnectError
from rxnodes.fleet.letters import token
from rxnodes.fleet.nats.jetstream import ApiError
from rxnodes.fleet.store import Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rxnodes.fleet.nats.jetstream import JetStream

__all__ = ["Layout", "Place"]

_logger = logging.getLogger("rxnodes.fleet")

#: Seconds after which the engine sweeps a lease away that nobody has renewed. It decides nothing.
_SWEPT_AFTER: Final = 3600
#: Seconds for which messages are kept.
_KEPT_FOR: Final = 24 * 60 * 60
_NANOSECONDS: Final = 1_000_000_000
#: The error of a stream that is there with other settings.
_IS_THERE: Final = 10058
#: From this status on, JetStream may say yes later.
_LATER: Final = 500
#: The error of servers that are starting, and do not know each other yet. They may say yes later, too.
_NO_PEERS: Final = 10005
#: The error of servers that cannot set so much aside.
_NO_ROOM: Final = 10047
#: How many bytes the servers are asked to set aside, at first and in the end.
_ASIDE: Final = (1 << 50, 1 << 20)


@dataclass(frozen=True, slots=True)
class Place:
    """A stream, and the subjects that it keeps: this prefix and one token.

    Attributes:
        stream: Its name.
        prefix: What stands before the token.
    """

    stream: str
    prefix: str

    def subject(self, name: str) -> str:
        """The subject of a name."""
        return self.prefix + token(name)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a fleet lies on NATS, and how it is kept.

    Attributes:
        fleet: The fleet's name.
        history: How many entries of the log are kept for each connection.
        replicas: On how many servers all of it is kept, 1, 3 or 5.
        is_ours: Whether what is there already is to be kept like this too. It is not for an observer.
        keeps: Whether messages are kept: then these are bounded, so that they never take the room of all else.
    """

    fleet: str
    history: int = 64
    replicas: int = 1
    is_ours: bool = True
    keeps: bool = False

    @property
    def leases(self) -> Place:
        """The bucket of leases, by worker."""
        return self._bucket("leases")

    @property
    def records(self) -> Place:
        """The bucket of records, by connection."""
        return self._bucket("records")

    @property
    def log(self) -> Place:
        """The log: one subject for each connection."""
        return Place(f"rxnodes_{token(self.fleet)}_log", f"{self.plain}log.")

    @property
    def kept(self) -> Place:
        """The messages that are kept: one subject for each connection."""
        return Place(f"rxnodes_{token(self.fleet)}_kept", f"{self.plain}kept.")

    @property
    def plain(self) -> str:
        """What stands before the subjects of plain messages."""
        return f"rxnodes.{token(self.fleet)}."

    def _bucket(self, name: str) -> Place:
        bucket = f"rxnodes_{token(self.fleet)}_{name}"
        return Place(f"KV_{bucket}", f"$KV.{bucket}.")

    async def make(self, jetstream: JetStream) -> None:
        """Makes the streams that are not there yet, and changes those that are kept in another way.

        Raises:
            ConnectError: If JetStream refuses it for good.
        """
        for place, ours in (
            # A bucket is a stream that keeps one entry for each subject (ADR-8).
            (self.leases, {"max_msgs_per_subject": 1, "max_age": _SWEPT_AFTER * _NANOSECONDS, **_OF_BUCKETS}),
            (self.records, {"max_msgs_per_subject": 1, **_OF_BUCKETS}),
            (self.log, {"max_msgs_per_subject": self.history}),
            (self.kept, {"max_msgs_per_subject": -1, "max_age": _KEPT_FOR * _NANOSECONDS}),
        ):
            config = {"name": place.stream, "subjects": [f"{place.prefix}>"], **_OF_ALL, **ours}
            await _patiently(partial(self._keep, jetstream, {**config, "num_replicas": self.replicas}))
        if self.keeps:
            await _patiently(partial(self._bound_kept, jetstream))

    async def _keep(self, jetstream: JetStream, config: dict[str, Any]) -> None:
        name = config["name"]
        try:
            await jetstream.api(f"STREAM.CREATE.{name}", config)
        except ApiError as error:
            if error.number != _IS_THERE:
                raise
            kept = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
            changed = {key: config[key] for key in ("max_msgs_per_subject", "num_replicas")}
            if self.is_ours and any(kept.get(key) != value for key, value in changed.items()):
                await jetstream.api(f"STREAM.UPDATE.{name}", {**kept, **changed})

    async def _bound_kept(self, jetstream: JetStream) -> None:
        """Bounds kept messages to three quarters of what the servers can set aside, at most.

        Servers that are full refuse leases too. A stream that is full refuses messages alone. How much room there is no
        server says, but whether it can set some aside. What somebody else has set stays.
        """
        name = self.kept.stream
        config = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
        if config["max_bytes"] != -1:
            return
        size, least = _ASIDE
        while True:
            try:
                await jetstream.api(f"STREAM.UPDATE.{name}", {**config, "discard": "new", "max_bytes": size})
                break
            except ApiError as error:
                if error.number != _NO_ROOM or size <= least:
                    raise
                size //= 2
        await jetstream.api(f"STREAM.UPDATE.{name}", {**config, "discard": "new", "max_bytes": size * 3 // 4})


async def _patiently(act: Callable[[], Awaitable[None]]) -> None:
    """Does something again and again: servers that are starting, or choosing a leader, refuse it for a while.

    Raises:
        ConnectError: If they refuse it for good.
    """
    pause = 0.1
    while True:
        try:
            await act()
        except (ApiError, Unknown) as error:
            if isinstance(error, ApiError) and error.code < _LATER and error.number != _NO_PEERS:
                raise ConnectError(f"JetStream does not keep the fleet: {error}", retryable=False) from error
            if pause > 1:
                _logger.warning("JetStream cannot keep the fleet yet: %s. It is asked again.", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5)
        else:
            return


_OF_ALL: Final = {
    "retention": "limits",
    "storage": "file",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "duplicate_window": 120 * _NANOSECONDS,
}
_OF_BUCKETS: Final = {"discard": "new", "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True}
