"""What a worker is asked to measure, and the words it speaks with the server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["Job", "Metrics", "Skipped"]

#: What a worker found: the values of each metric, one per round.
Metrics = dict[str, list[float]]

#: A warm-up moves about so many bytes, between these two numbers of messages.
WARM_UP_BYTES = 16 * 1024 * 1024
MIN_WARM_UP, MAX_WARM_UP = 16, 4_000


class Skipped(Exception):  # noqa: N818 - it is no error: there is nothing to measure
    """This contender cannot do this workload here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement.

    Attributes:
        workload: What to do: the name of a contender's function.
        port: Where the server listens, on 127.0.0.1.
        rounds: How often to measure within the process.
        seconds: How long one round should take.
        size: Bytes in a message.
        is_text: Whether messages are text.
        is_deflated: Whether they are compressed: JSON then, of which each message is much like the last.
        is_tls: Whether the server speaks TLS.
        subscribers: How many subscribers see each message.
        connections: How many connections to hold.
        messages: How many messages those connections receive in all.
        count: How many round trips, or starts and stops.
        burst: How many messages are sent in one turn of the loop.
    """

    workload: str
    port: int = 0
    rounds: int = 5
    seconds: float = 0.2
    size: int = 32
    is_text: bool = True
    is_deflated: bool = False
    is_tls: bool = False
    subscribers: int = 1
    connections: int = 1
    messages: int = 200_000
    count: int = 1_000
    burst: int = 1_000

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"{'wss' if self.is_tls else 'ws'}://127.0.0.1:{self.port}/{'deflate' if self.is_deflated else ''}"

    @property
    def warm_up(self) -> int:
        """How many messages make a first, unmeasured round."""
        return max(MIN_WARM_UP, min(MAX_WARM_UP, WARM_UP_BYTES // self.size))

    @property
    def text(self) -> str:
        """A text message of the right size."""
        return "x" * self.size

    def blast(self, count: int) -> str:
        """Asks the server for `count` messages."""
        return f"blast {self._kind} {self.size} {count}"

    def blast_all(self, count: int) -> str:
        """Asks the server for `count` messages on every connection that it holds."""
        return f"blast-all {self._kind} {self.size} {count}"

    def sink(self, count: int) -> str:
        """Asks the server to say "done" when `count` messages, each in one masked frame of its own, have arrived."""
        return f"sink {count * (client_header_size(self.size) + self.size)}"

    @property
    def _kind(self) -> str:
        if self.is_deflated:
            return "json"
        return "text" if self.is_text else "binary"

    def to_json(self) -> str:
        """The job as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def client_header_size(size: int) -> int:
    """The bytes before the payload in a frame of a client (RFC 6455 section 5.2), its mask included."""
    if size < 126:  # noqa: PLR2004 - section 5.2
        return 6
    return 8 if size < 65536 else 14  # noqa: PLR2004
