"""Frames: encoding ours, and what aiohttp's parser finds in the peer's.

This is the one place that reaches into aiohttp, and asyncio's TLS, beyond their public names. The parser is aiohttp's,
compiled; what it does with a frame is ours, because it accepts a few things that RFC 6455 forbids (masked frames from a
server, close codes that must not be sent, a new message within a fragmented one) and refuses a message of exactly the
allowed size.
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import WebSocketError

from rxnodes.errors import ProtocolError
from rxnodes.lifecycle.states import CloseCode, is_close_code

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "Deflate",
    "FrameEncoder",
    "FrameHandler",
    "FrameParser",
    "layers",
    "parse_deflate_parameters",
]

if not hasattr(WebSocketReader, "_handle_frame"):  # pragma: no cover - no such version is known
    raise ImportError("this version of aiohttp parses frames in a way that rxnodes does not know; install aiohttp 3.14")

logger = logging.getLogger("rxnodes.transport")

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NO_RUN: Final = -1

FIN: Final = 0x80
RSV1: Final = 0x40
MASKED: Final = 0x80

MEDIUM_HEADER = Struct("!BBH").pack
LONG_HEADER = Struct("!BBQ").pack
CLOSE_CODE = Struct("!H")

SHORT_FRAMES = (
    FIN | TEXT,
    FIN | BINARY,
    FIN | RSV1 | TEXT,
    FIN | RSV1 | BINARY,
    FIN | CLOSE,
    FIN | PING,
    FIN | PONG,
)

#: The headers of short frames, ready made: packing one takes a fifth of the time of encoding the frame.
SHORT_HEADERS = {
    first_byte: [bytes((first_byte, MASKED | length)) for length in range(126)] for first_byte in SHORT_FRAMES
}

#: RFC 7692 section 7.2.1: what a sender takes off the end of a compressed message, and a receiver puts back.
DEFLATE_TAIL = b"\x00\x00\xff\xff"

#: A message may come in so many fragments at least, and in one for so many of its allowed bytes.
MIN_FRAGMENTS = 1024
BYTES_PER_FRAGMENT = 64

#: aiohttp's parser folds the reads of one frame into a bytearray beyond so many of them at least.
MIN_FOLDED_READS = 1024
BYTES_PER_FOLDED_READ = 256

#: Each final block in a message takes a new decompressor and a copy of the rest; a sender needs one at most.
MAX_FINAL_BLOCKS = 16

#: How much one read may become, unpacked, before it is delivered; beyond that, message by message.
MAX_UNPACKED_RUN = 2**20

#: Drawn from the system at once: a few dozen masks. More would cost every idle connection memory, and gain little.
MASK_POOL_SIZE = 256

LONGEST_HEADER = 10

#: RFC 6455 section 5.2: payloads below this length have the shortest header.
SHORT = 126


class Deflate:
    """permessage-deflate as negotiated (RFC 7692).

    Args:
        window_bits: The size of our window, 9 to 15.
        no_context_takeover: Whether each of our messages is compressed on its own.
    """

    def __init__(self, window_bits: int = 15, *, no_context_takeover: bool = False) -> None:
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._compressor = self._new_compressor()
        self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def _new_compressor(self) -> zlib._Compress:  # pyright: ignore[reportPrivateUsage]
        return zlib.compressobj(level=zlib.Z_BEST_SPEED, wbits=-self._window_bits)

    def compress(self, payload: bytes) -> bytes:
        """The compressed payload of a message."""
        if self._no_context_takeover:
            self._compressor = self._new_compressor()
        packed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(DEFLATE_TAIL)

    def decompress(self, payload: bytes, limit: int | None) -> bytes | None:
        """The payload of a message of the peer; `None` if it is longer than `limit` bytes, or in too many final blocks.

        Raises:
            zlib.error: If it is not what deflate produces.
        """
        data = payload + DEFLATE_TAIL
        unpacked = b""
        for _ in range(MAX_FINAL_BLOCKS):
            unpacked += self._decompressor.decompress(data, 0 if limit is None else limit + 1 - len(unpacked))
            if limit is not None and len(unpacked) > limit:
                return None
            if not self._decompressor.eof:
                return unpacked
            # A final block is allowed (RFC 7692 section 7.2.3.4), and so are blocks behind it.
            data = self._decompressor.unused_data
            self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            if data in (b"", DEFLATE_TAIL):
                return unpacked
        return None


class Outgoing(Protocol):
    """A message that is to be encoded.

    Attributes:
        payload: Its bytes.
        is_text: Whether it is a text message (UTF-8).
    """

    payload: bytes
    is_text: bool


class FrameEncoder:
    """Encodes the frames of a client: masked (RFC 6455 section 5.3), and compressed where that was negotiated."""

    __slots__ = (
        "_deflate",
        "_masks",
        "_next_mask",
    )

    def __init__(self, deflate: Deflate | None = None) -> None:
        self._deflate = deflate
        self._masks = b""
        self._next_mask = 0

    def messages(self, messages: Sequence[Outgoing]) -> list[bytes]:
        """Whole messages, each as one frame. All in one loop, which takes two thirds of the time of one by one."""
        masks, at = self._draw_masks(len(messages))
        deflate, bits = self._deflate, FIN if self._deflate is None else FIN | RSV1
        texts, binaries = SHORT_HEADERS[bits | TEXT], SHORT_HEADERS[bits | BINARY]
        frames: list[bytes] = []
        for message in messages:
            payload = message.payload if deflate is None else deflate.compress(message.payload)
            length = len(payload)
            if length < SHORT:
                header = (texts if message.is_text else binaries)[length]
            else:
                header = _long_header(bits | (TEXT if message.is_text else BINARY), length)
            mask = masks[at : at + 4]
            at += 4
            masked = bytearray(payload)
            websocket_mask(mask, masked)
            frames.append(header + mask + masked)
        return frames

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return self._control(FIN | PONG, payload)

    def ping(self, payload: bytes) -> bytes:
        """A ping of ours."""
        return self._control(FIN | PING, payload)

    def close(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005 stands for an empty one (RFC 6455 section 7.1.5)."""
        payload = b"" if code == CloseCode.NO_STATUS_RECEIVED else CLOSE_CODE.pack(code) + reason.encode()
        return self._control(FIN | CLOSE, payload)

    def _control(self, first_byte: int, payload: bytes) -> bytes:
        masks, at = self._draw_masks(1)
        mask = masks[at : at + 4]
        masked = bytearray(payload)
        websocket_mask(mask, masked)
        return SHORT_HEADERS[first_byte][len(payload)] + mask + masked

    def _draw_masks(self, count: int) -> tuple[bytes, int]:
        """Four bytes for each frame that nobody can predict (RFC 6455 section 10.3).

        They are drawn from the system many at a time.

        Returns:
            The bytes, and where in them those for these frames begin.
        """
        size = 4 * count
        if len(self._masks) - self._next_mask < size:
            self._masks = os.urandom(max(MASK_POOL_SIZE, size))
            self._next_mask = 0
        masks, at = self._masks, self._next_mask
        self._next_mask += size
        if self._next_mask == len(masks):
            # Those of a burst are not kept while the connection is idle.
            self._masks, self._next_mask = b"", 0
        return masks, at


def _long_header(first_byte: int, length: int) -> bytes:
    if length < 65536:  # noqa: PLR2004 - RFC 6455 section 5.2
        return MEDIUM_HEADER(first_byte, MASKED | 126, length)
    return LONG_HEADER(first_byte, MASKED | 127, length)


class FrameHandler(Protocol):
    """What a `FrameParser` calls."""

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        """Whole messages of one read, all of one kind, and how many bytes they have together."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """A Close frame."""
        ...

    def on_ping(self, payload: bytes) -> None:
        """A ping."""
        ...

    def on_pong(self, payload: bytes) -> None:
        """A pong."""
        ...


class FrameParser(WebSocketReader):
    """aiohttp's parser, with what RFC 6455 says of messages on top.

    What one read brings is delivered together, which is cheaper than message by message, and no later: the payloads of
    a run of whole messages of one opcode wait until the read is parsed, or something else comes.

    Args:
        handler: What is called, in order, within `feed`.
        results: aiohttp's queue of the connection; the parser leaves its errors there, and nothing else.
        max_size: Bytes a message may have, unpacked; `None`: no limit.
        deflate: Compression, where it was negotiated.
    """

    __slots__ = (
        "_append",
        "_control_bits",
        "_deflate",
        "_fragment_limit",
        "_fragmented_opcode",
        "_fragments",
        "_fragments_size",
        "_handler",
        "_is_done",
        "_last",
        "_limit",
        "_payloads",
        "_reads",
        "_results",
        "_run",
        "_unfolded_reads",
        "_unpacked_size",
    )

    def __init__(
        self,
        handler: FrameHandler,
        results: WebSocketDataQueue,
        *,
        max_size: int | None,
        deflate: Deflate | None,
    ) -> None:
        self._results = results
        declared = self._declared_limit(max_size, deflate)
        super().__init__(self._results, declared, deflate is not None, False)  # noqa: FBT003
        # As aiohttp reckons it.
        self._unfolded_reads = max(MIN_FOLDED_READS, declared // BYTES_PER_FOLDED_READ) if declared else math.inf
        self._handler = handler
        self._limit = max_size
        self._fragment_limit = MIN_FRAGMENTS if max_size is None else max(MIN_FRAGMENTS, max_size // BYTES_PER_FRAGMENT)
        self._deflate = deflate
        self._control_bits = None if deflate is None else _ControlBits()
        self._fragments: list[bytes] = []
        self._fragmented_opcode = CONTINUATION
        self._fragments_size = 0
        self._reads = 0
        self._is_done = False
        # The opcode of the run; none while a message is in fragments, and at the end.
        self._run = NO_RUN
        self._unpacked_size = 0
        self._payloads: list[bytes] = []
        self._append = self._payloads.append
        # Kept until the next one comes: or else the allocator gives a large message's memory back to the system, and
        # faults it in again for the next one.
        self._last = b""

    @staticmethod
    def _declared_limit(max_size: int | None, deflate: Deflate | None) -> int:
        """What to let aiohttp refuse by a frame's declared length alone.

        It refuses from this length on, so one more than is allowed; deflate can make what it cannot compress longer.
        """
        if max_size is None:
            return 0
        return max_size + 1 if deflate is None else max_size + max_size // 1000 + 64

    def feed(self, data: bytes) -> None:
        """Parses what has come.

        Raises:
            ProtocolError: If the peer broke the protocol. What came before is delivered.
        """
        if self._is_done:
            return
        self._reads += 1
        forbidden = None if self._control_bits is None else self._control_bits.find_forbidden(data)
        failed, _ = self.feed_data(data if forbidden is None else data[:forbidden])
        violation = self._results.exception() if failed else None
        try:
            self._flush()
        except WebSocketError as error:
            violation = error
        if forbidden is not None and violation is None:
            violation = WebSocketError(CloseCode.PROTOCOL_ERROR, "a control frame with the bit of a compressed message")
        if violation is not None and not self._is_done:
            self.finish()
            raise _protocol_error(violation) from None

    def finish(self) -> None:
        """Ignores whatever comes from here on."""
        self._is_done = True
        self._run = NO_RUN

    def _handle_frame(self, fin: bool, opcode: int, payload: bytes | bytearray, compressed: int) -> None:  # noqa: FBT001 - aiohttp's signature
        # The hot path: one more whole message of the run. Its length was checked by the parser.
        if opcode == self._run and fin and not compressed and type(payload) is bytes:
            self._append(payload)
        elif not self._is_done:
            self._on_frame(fin, opcode, payload, compressed)

    def _on_frame(self, fin: bool, opcode: int, payload: bytes | bytearray, compressed: int) -> None:  # noqa: FBT001
        if type(payload) is not bytes:
            payload = self._unmasked(payload)
        self._reads = 0
        if opcode <= BINARY:
            self._on_data(fin, opcode, payload, compressed)
        elif opcode == PING:
            self._handler.on_ping(payload)
        elif opcode == PONG:
            self._handler.on_pong(payload)
        else:
            code, reason = _parse_close(payload)
            self._flush()
            self.finish()
            self._handler.on_close(code, reason)

    def _flush(self) -> None:
        """Delivers the run, as far as it is valid; nothing where somebody has ended it all in a delivery before."""
        if self._is_done:
            self._payloads.clear()
        if not self._payloads:
            return
        payloads = self._payloads[:]
        self._payloads.clear()
        self._unpacked_size = 0
        self._last = payloads[-1]
        self._reads = 0
        if self._run == BINARY:
            self._handler.on_messages(payloads, sum(map(len, payloads)))
            return
        try:
            texts = [payload.decode() for payload in payloads]
        except UnicodeDecodeError:
            texts = _valid_texts(payloads)
        if texts:
            self._handler.on_messages(texts, sum(map(len, islice(payloads, len(texts)))))
        if len(texts) < len(payloads):
            raise WebSocketError(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a text message that is not UTF-8")

    def _unmasked(self, payload: bytes | bytearray) -> bytes:
        """Refuses a masked frame (RFC 6455 section 5.1), which aiohttp unmasks into a `bytearray`.

        It also gives one for a frame that came in very many reads, where it has a limit; such a frame is let pass.
        """
        if self._reads <= self._unfolded_reads:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a frame from the server is masked")
        return bytes(payload)

    def _on_data(self, fin: bool, opcode: int, payload: bytes, compressed: int) -> None:  # noqa: FBT001
        """A frame of a message: assembles fragments (RFC 6455 section 5.4), and unpacks."""
        if opcode == CONTINUATION:
            if not self._fragmented_opcode:
                raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a continuation frame without a message to continue")
            opcode = self._fragmented_opcode
        elif self._fragmented_opcode:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a new message within a fragmented one")
        if not fin or self._fragments:
            self._keep_fragment(opcode, payload, compressed)
            if not fin:
                return
            payload = b"".join(self._fragments)
        self._fragments = []
        self._fragments_size = 0
        self._fragmented_opcode = CONTINUATION
        self._begin_run(opcode)
        if not compressed:
            self._append(payload)
            return
        unpacked = self._unpack(payload)
        self._append(unpacked)
        self._unpacked_size += len(unpacked)
        if self._unpacked_size > MAX_UNPACKED_RUN:
            self._flush()

    def _keep_fragment(self, opcode: int, payload: bytes, compressed: int) -> None:
        self._begin_run(NO_RUN)
        self._fragmented_opcode = opcode
        self._fragments.append(payload)
        self._fragments_size += len(payload)
        if self._limit is not None:
            limit = self._declared_limit(self._limit, self._deflate) if compressed else self._limit
            if self._fragments_size > limit:
                raise self._too_big()
        if len(self._fragments) > self._fragment_limit:
            raise WebSocketError(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {self._fragment_limit} fragments")

    def _begin_run(self, opcode: int) -> None:
        if self._run != opcode:
            self._flush()
            self._run = opcode

    def _unpack(self, payload: bytes) -> bytes:
        assert self._deflate is not None
        try:
            unpacked = self._deflate.decompress(payload, self._limit)
        except zlib.error:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a compressed message that cannot be unpacked") from None
        if unpacked is None:
            raise self._too_big()
        return unpacked

    def _too_big(self) -> WebSocketError:
        return WebSocketError(
            CloseCode.MESSAGE_TOO_BIG, f"a message of more than max_message_size ({self._limit} bytes)"
        )


class _ControlBits:
    """Finds control frames with RSV1, which aiohttp's parser lets pass where compression was negotiated.

    RFC 7692 section 6 gives the bit a meaning in the first frame of a message only.
    """

    def __init__(self) -> None:
        self._header = b""
        self._skip = 0

    def find_forbidden(self, data: bytes) -> int | None:
        """Where in `data` the first such frame begins; `None` if there is none."""
        position = min(self._skip, len(data))
        self._skip -= position
        while position < len(data):
            begun = len(self._header)
            header = self._header + data[position : position + LONGEST_HEADER - begun]
            if header[0] & RSV1 and header[0] & CLOSE:
                return position
            length = _frame_length(header)
            if length is None:
                self._header = header
                return None
            self._header = b""
            end = position - begun + length
            self._skip = max(0, end - len(data))
            position = end
        return None


def _frame_length(header: bytes) -> int | None:
    """How long the frame is that begins so, header and all; `None` if that cannot be told yet."""
    if len(header) < 2:  # noqa: PLR2004 - RFC 6455 section 5.2
        return None
    length, size = header[1] & 0x7F, 2
    if length > 125:  # noqa: PLR2004
        size += 2 if length == 126 else 8  # noqa: PLR2004
        if len(header) < size:
            return None
        length = int.from_bytes(header[2:size])
    return size + (4 if header[1] & MASKED else 0) + length


def _protocol_error(error: BaseException) -> ProtocolError:
    if isinstance(error, WebSocketError):
        return ProtocolError(str(error.args[1]), code=int(error.code))
    logger.error("the frame parser failed", exc_info=error)
    return ProtocolError("the frame parser failed", code=CloseCode.PROTOCOL_ERROR)


def _valid_texts(payloads: list[bytes]) -> list[str]:
    """The texts before the first payload that is not UTF-8 (RFC 6455 section 8.1); there is one."""
    texts: list[str] = []
    while (text := _text(payloads[len(texts)])) is not None:
        texts.append(text)
    return texts


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _parse_close(payload: bytes) -> tuple[int, str]:
    """The code and reason of a Close frame (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return int(CloseCode.NO_STATUS_RECEIVED), ""
    if len(payload) == 1:
        raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a Close frame with half a close code")
    (code,) = CLOSE_CODE.unpack_from(payload)
    if not is_close_code(code):
        raise WebSocketError(CloseCode.PROTOCOL_ERROR, f"a Close frame with the code {code}, which must not be sent")
    try:
        return code, payload[CLOSE_CODE.size :].decode()
    except UnicodeDecodeError:
        raise WebSocketError(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a close reason that is not UTF-8") from None


def layers(transport: asyncio.Transport) -> list[asyncio.Transport]:
    """A TLS transport of asyncio, and the TCP transport below it; any other transport alone.

    asyncio has no public name for the lower one, and without it nobody can tell whether what was written has left.
    """
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return [transport] if below is None else [transport, below]


def parse_deflate_parameters(offer: str) -> Deflate:
    """The compression that a server chose (RFC 7692 section 7.1).

    Args:
        offer: The value of its `Sec-WebSocket-Extensions`.

    Raises:
        ValueError: If it is anything but permessage-deflate with parameters that we offered.
    """
    name, *parameters = (part.strip() for part in offer.split(";"))
    if name != "permessage-deflate":
        raise ValueError(f"the server chose the extension {name!r}, which was not offered")
    values: dict[str, Any] = {}
    for parameter in parameters:
        key, _, value = (part.strip().strip('"') for part in parameter.partition("="))
        if key in values:
            raise ValueError(f"the server gave the parameter {key!r} of permessage-deflate twice")
        values[key] = _check_parameter(key, value)
    return Deflate(
        values.get("client_max_window_bits", zlib.MAX_WBITS),
        no_context_takeover="client_no_context_takeover" in values,
    )


def _check_parameter(key: str, value: str) -> int | None:
    if key in ("server_no_context_takeover", "client_no_context_takeover") and not value:
        return None
    if key == "server_max_window_bits" and value.isdecimal() and 8 <= int(value) <= zlib.MAX_WBITS:  # noqa: PLR2004
        return int(value)
    # zlib cannot compress with a window of 8 bits, which the RFC allows a server to ask for.
    if key == "client_max_window_bits" and value.isdecimal() and 9 <= int(value) <= zlib.MAX_WBITS:  # noqa: PLR2004
        return int(value)
    raise ValueError(f"the server gave permessage-deflate a parameter that cannot be: {key!r}")
