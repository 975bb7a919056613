"""The other side: a WebSocket server that does as little as it can.

It blasts prebuilt frames, swallows bursts by counting bytes, echoes, and answers Close frames. It runs in a process of
its own, on 127.0.0.1 alone, and ends when whoever started it closes its standard input.

A client commands it with text messages: `blast KIND SIZE COUNT`, `blast-all KIND SIZE COUNT`, `sink BYTES`, `echo`. The
kind `json` is compressed, for clients that asked for `/deflate`. With `--tls` it speaks TLS.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import sys
import zlib
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from benchmarks import say
from benchmarks.limits import allow_many_files

if TYPE_CHECKING:
    from collections.abc import Sequence

ACCEPT_SALT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FIN, RSV1 = 0x80, 0x40

SHORT_HEADER = Struct("!BB").pack
MEDIUM_HEADER = Struct("!BBH").pack
LONG_HEADER = Struct("!BBQ").pack

#: RFC 7692 section 7.2.1: a sender takes this off the end of a compressed message.
DEFLATE_TAIL = b"\x00\x00\xff\xff"

#: Frames are written so many bytes at a time.
BLOCK_SIZE = 256 * 1024

#: So many compressed messages are made, and sent again and again.
PACKED_MESSAGES = 4096

#: As many connections may knock at once as the largest workload has.
BACKLOG = 4096

#: All connections, for `blast-all`.
peers: set[Peer] = set()


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._is_open = False
        self._is_echoing = False
        self._sink_left = 0
        self._is_paused = False
        self._block = memoryview(b"")
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._blast_left = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By its methods it is one; uvloop's class does not say so.
        self._transport = cast("asyncio.Transport", transport)
        # Always something to send next, whatever the kernel has taken.
        self._transport.set_write_buffer_limits(high=8 * BLOCK_SIZE, low=4 * BLOCK_SIZE)
        peers.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        peers.discard(self)

    @override
    def data_received(self, data: bytes) -> None:
        if self._sink_left:
            self._swallow(len(data))
            return
        self._buffer += data
        if not self._is_open:
            self._shake_hands()
        if self._is_open:
            self._read_frames()

    def _shake_hands(self) -> None:
        head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not end:
            return
        key = next(
            line.partition(b":")[2].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_SALT, usedforsecurity=False).digest())
        extensions = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if head.startswith(b"GET /deflate ") else b""
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extensions + b"\r\n"
        )
        self._buffer = bytearray(rest)
        self._is_open = True

    def _read_frames(self) -> None:
        """Reads what a client of ours sends: whole messages in masked frames of less than 64 KiB."""
        buffer = self._buffer
        at = 0
        while len(buffer) - at >= 6 and not self._sink_left:  # noqa: PLR2004 - two bytes and a mask
            length = buffer[at + 1] & 0x7F
            start = at + 2
            if length == 126:  # noqa: PLR2004 - RFC 6455 section 5.2
                length = int.from_bytes(buffer[start : start + 2])
                start += 2
            end = start + 4 + length
            if end > len(buffer):
                break
            mask = buffer[start : start + 4] * (length // 4 + 1)
            masked = int.from_bytes(buffer[start + 4 : end])
            payload = (masked ^ int.from_bytes(mask[:length])).to_bytes(length)
            opcode = buffer[at] & 0xF
            if buffer[at] & RSV1:
                payload = self._inflate.decompress(payload + DEFLATE_TAIL)
            at = end
            self._on_frame(opcode, payload)
        del buffer[:at]
        if self._sink_left and buffer:
            left, self._buffer = len(buffer), bytearray()
            self._swallow(left)

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._transport.write(_frame(CLOSE, payload))
            self._transport.close()
        elif opcode == PING:
            self._transport.write(_frame(0xA, payload))
        elif self._is_echoing:
            self._transport.write(_frame(opcode, payload))
        elif opcode == TEXT:
            self._obey(payload.decode().split())

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["blast", kind, size, count]:
                self.blast(kind, int(size), int(count))
            case ["blast-all", kind, size, count]:
                for peer in tuple(peers):
                    peer.blast(kind, int(size), int(count))
            case ["sink", size]:
                self._sink_left = int(size)
            case ["echo"]:
                self._is_echoing = True
            case _:
                self._transport.abort()

    def _swallow(self, size: int) -> None:
        self._sink_left -= size
        if self._sink_left <= 0:
            self._sink_left = 0
            self._transport.write(_frame(TEXT, b"done"))

    def blast(self, kind: str, size: int, count: int) -> None:
        """Sends so many messages as fast as they are taken."""
        ends, self._block = _block(kind, size)
        blocks, rest = divmod(count, len(ends) - 1)
        self._blast_left = blocks * len(self._block) + ends[rest]
        self._pump()

    def _pump(self) -> None:
        while self._blast_left and not self._is_paused:
            block = self._block[: self._blast_left]
            self._blast_left -= len(block)
            self._transport.write(block)

    @override
    def pause_writing(self) -> None:
        self._is_paused = True

    @override
    def resume_writing(self) -> None:
        self._is_paused = False
        self._pump()


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:  # noqa: PLR2004 - RFC 6455 section 5.2
        return SHORT_HEADER(FIN | opcode, length) + payload
    if length < 65536:  # noqa: PLR2004
        return MEDIUM_HEADER(FIN | opcode, 126, length) + payload
    return LONG_HEADER(FIN | opcode, 127, length) + payload


_blocks: dict[tuple[str, int], tuple[Sequence[int], memoryview]] = {}


def _block(kind: str, size: int) -> tuple[Sequence[int], memoryview]:
    """As many frames as are written at once: where each begins, and their end; and their bytes."""
    if (kind, size) not in _blocks:
        if kind == "json":
            frames = _packed_frames(size)
            ends: Sequence[int] = [0, *accumulate(map(len, frames))]
        else:
            frame = _frame(TEXT if kind == "text" else BINARY, b"x" * size)
            frames = [frame] * max(1, BLOCK_SIZE // len(frame))
            ends = range(0, len(frame) * len(frames) + 1, len(frame))
        _blocks[kind, size] = ends, memoryview(b"".join(frames))
    return _blocks[kind, size]


def _packed_frames(size: int) -> list[bytes]:
    """Compressed frames, for which a server looks back at what it sent before (RFC 7692); the first begins anew."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    frames: list[bytes] = []
    for number in range(PACKED_MESSAGES):
        text = json.dumps(
            {"type": "trade", "symbol": f"SYM{number % 50}", "price": 1000 + number * 7919 % 9973 / 100, "id": number}
        )
        packed = compressor.compress(text.ljust(size).encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
        frames.append(_frame(RSV1 | TEXT, packed.removesuffix(DEFLATE_TAIL)))
    return frames


async def serve() -> None:
    """Serves until standard input ends; the first line on standard output is the port."""
    allow_many_files()
    loop = asyncio.get_running_loop()
    tls = _tls_context() if "--tls" in sys.argv else None
    server = await loop.create_server(Peer, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls)
    say(str(server.sockets[0].getsockname()[1]))
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    for peer in tuple(peers):
        peer._transport.abort()  # noqa: SLF001 - its own module


def _tls_context() -> ssl.SSLContext:
    import trustme  # noqa: PLC0415 - only with TLS

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def main() -> None:
    """Runs the server; on uvloop, where there is one, because a fast server shows the clients."""
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - optional

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())


if __name__ == "__main__":
    # Interrupted with whoever started it: nothing to say.
    with contextlib.suppress(KeyboardInterrupt):
        main()
