"""`python -m benchmarks.wire`: what one message costs in the parser, in the encoder and in compression, without I/O.

It prints a table of the build that runs it: nanoseconds of CPU time for each message, the least of several rounds.
"""

from __future__ import annotations

import argparse
import time
import zlib
from dataclasses import dataclass
from timeit import Timer
from typing import TYPE_CHECKING, Any, Final

from benchmarks import say
from rxnodes.transport.aiohttp.allocator import keep_freed_memory
from rxnodes.transport.aiohttp.transport import compiled_mask
from rxnodes.wire import IS_COMPILED
from rxnodes.wire.deflate import Deflate, new_compressor
from rxnodes.wire.encoder import FrameEncoder
from rxnodes.wire.masking import Masks
from rxnodes.wire.parser import FrameParser

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT: Final = b"\x81"
BINARY: Final = b"\x82"
#: Bytes of a read of the socket.
READ: Final = 256 * 1024
#: JSON, of which each message is much like the last.
JSON: Final = b'{"symbol":"XAU","bid":2034.1,"ask":2034.6,"at":%016d}'


class Handler:
    """Takes what is parsed, and does nothing."""

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        """Messages have come."""

    def on_close(self, code: int, reason: str) -> None:
        """A Close frame has come."""

    def on_ping(self, payload: bytes) -> None:
        """A ping has come."""

    def on_pong(self, payload: bytes) -> None:
        """A pong has come."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send."""

    payload: bytes
    is_text: bool = True


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="of which the least counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05, help="of a round (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()
    build = "compiled" if IS_COMPILED else "pure"
    compressor = "zlib" if new_compressor is zlib.compressobj else "zlib-ng"
    say(f"| Nanoseconds for each message | {build}, {compressor} |\n|---|---|")
    for title, count, work in _rows():
        least = _least(work, options.rounds, options.seconds)
        say(f"| {title} | {least / count:,.0f} |")


def _least(work: Callable[[], object], rounds: int, seconds: float) -> float:
    """Nanoseconds of CPU time for one call."""
    timer = Timer(work, timer=time.process_time)
    number = max(1, int(seconds / (timer.timeit(10) / 10)))
    return min(timer.repeat(rounds, number)) / number * 1e9


def _rows() -> list[tuple[str, int, Callable[[], object]]]:
    """What is measured: its title, how many messages one call handles, and the call."""
    return [
        _parse("parse 32 B text, many in a read", TEXT, 32),
        _parse("parse 32 B binary, many in a read", BINARY, 32),
        _parse("parse 159 B text, many in a read", TEXT, 159),
        _parse("parse 4 KiB binary, many in a read", BINARY, 4096),
        _parse("parse a single 32 B text in a read", TEXT, 32, count=1),
        _encode("encode 32 B text, in a burst of 1,000", 32),
        _encode("encode 159 B text, in a burst of 1,000", 159),
        _encode("encode 2,000 B text, in a burst of 1,000", 2000),
        _encode("encode a single 32 B text", 32, count=1),
        *(_compress(size) for size in (159, 4096, 65536)),
    ]


def _parse(title: str, kind: bytes, size: int, count: int = 0) -> tuple[str, int, Callable[[], object]]:
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2)  # noqa: PLR2004 - RFC 6455 section 5.2
    frame = kind + length + b"x" * size
    count = count or READ // len(frame)
    data = frame * count
    parser = FrameParser(Handler(), max_size=None, deflate=None)
    return title, count, lambda: parser.feed(data)


def _encode(title: str, size: int, count: int = 1000) -> tuple[str, int, Callable[[], object]]:
    burst: Any = [Message(b"x" * size)] * count
    encoder = FrameEncoder(masks=Masks(compiled_mask()))
    return title, count, lambda: encoder.messages(burst)


def _compress(size: int) -> tuple[str, int, Callable[[], object]]:
    messages = [
        b"".join(JSON % (7919 * number + index) for index in range(size // 50 + 1))[:size] for number in range(9)
    ]
    packed = sum(map(len, map(Deflate().compress, messages))) / sum(map(len, messages))
    deflate = Deflate()
    title = f"compress {size:,} B of JSON, to {packed:.0%}"
    return title, len(messages), lambda: [deflate.compress(message) for message in messages]


if __name__ == "__main__":
    main()
