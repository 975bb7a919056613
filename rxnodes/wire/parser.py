"""The parser: reads the frames of a server from bytes, however they are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rxnodes.lifecycle.states import CloseCode
from rxnodes.wire.assembler import NO_LIMIT, NO_RUN, MessageAssembler, Pieces, longest_frame, not_utf8
from rxnodes.wire.opcodes import BINARY, CLOSE, CONTINUATION, FIN, MASKED, PING, PONG, RSV1, TEXT, Violation

if TYPE_CHECKING:
    # In compiled code a number of this type is one of the processor's. In plain Python it is an `int`.
    from mypy_extensions import i64

    from rxnodes.wire.deflate import Deflate
    from rxnodes.wire.protocols import FrameHandler

__all__ = ["FrameParser"]

RSV2_AND_3: Final = 0x30
OPCODE: Final = 0x0F
LENGTH: Final = 0x7F

OPCODES: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

#: The first byte of a whole text message in one frame, not compressed.
WHOLE_TEXT: Final = FIN | TEXT

#: The longest payload whose length fits into the header's seven bits. 126 and 127 announce a length of 16 or 64 bits.
MAX_SHORT: Final = 125
LENGTH_IN_16_BITS: Final = 126


class FrameParser:
    """Reads frames (RFC 6455 section 5.2), and delivers what `MessageAssembler` makes of them.

    Args:
        handler: Called in the order of the frames, within `feed`.
        max_size: How many bytes a message may have, unpacked; `None`: no limit.
        deflate: The compression that was negotiated; `None`: none.
    """

    __slots__ = (
        "_begun",
        "_first_byte",
        "_is_deflated",
        "_is_in_message",
        "_is_packed",
        "_max_length",
        "_max_short",
        "_max_size",
        "_messages",
        "_missing",
        "_run",
        "_tail",
    )

    def __init__(self, handler: FrameHandler, *, max_size: int | None, deflate: Deflate | None) -> None:
        self._max_size = NO_LIMIT if max_size is None else min(max_size, NO_LIMIT)
        self._messages = MessageAssembler(handler, self._max_size, deflate)
        self._is_deflated = deflate is not None
        self._max_short = min(MAX_SHORT, self._max_size)
        self._max_length = longest_frame(self._max_size, is_packed=self._is_deflated)
        # The first byte of the frames that belong to the assembler's run.
        self._run = NO_RUN
        # Whether a message has begun and not ended, and whether the last message is compressed.
        self._is_in_message = False
        self._is_packed = False
        # A header that is not complete.
        self._tail = b""
        # A frame that is not complete: its first byte, what came of its payload, and how many bytes are missing.
        self._first_byte = 0
        self._begun: Pieces | None = None
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Parses bytes, and calls the handler for each frame or message in them.

        Raises:
            ProtocolError: If the peer broke the protocol. The messages before the violation have been delivered.
        """
        messages = self._messages
        if messages.is_done:
            return
        violation: Exception | None = None
        position = 0
        try:
            if self._missing:
                position = self._read_rest(data)
            elif self._tail:
                data, self._tail = self._tail + data, b""
            self._read_frames(data, position)
        except Exception as error:  # noqa: BLE001 - after any error nobody knows where the next frame begins
            violation = error
        if messages.run or violation is not None:
            messages.end_read(violation)

    def finish(self) -> None:
        """Ignores all bytes from here on."""
        self._messages.finish()
        self._run = NO_RUN

    def _read_rest(self, data: bytes) -> int:
        """Reads the rest of an incomplete frame, or as much of it as there is, and returns where that ends."""
        begun, missing = self._begun, self._missing
        assert begun is not None
        if missing > len(data):
            begun.add(data)
            self._missing = missing - len(data)
            return len(data)
        begun.add(data[:missing])
        self._begun = None
        self._missing = 0
        self._take(self._first_byte, begun.join())
        return missing

    def _read_frames(self, data: bytes, begin: i64) -> None:
        position = begin
        last: i64 = len(data) - 1
        while position < last:
            if data[position] == self._run:
                position = self._read_run(data, position)
            if position < last:
                position = self._read_frame(data, position)
        if position == last:
            self._tail = data[position:]

    def _read_run(self, data: bytes, begin: i64) -> i64:
        """The hot path: reads messages of less than 64 KiB for as long as they belong to the run.

        The second byte of a masked frame is larger than any short length, so such a frame ends the loop. Each message
        is decoded where it is cut out, which takes no longer than to decode all of them together.
        """
        messages = self._messages
        run = messages.run
        first: i64 = self._run
        is_text = first == WHOLE_TEXT
        max_short: i64 = self._max_short
        count: i64 = len(run)
        end: i64 = len(data)
        last = end - 1
        # How many bytes the headers have beyond two each. To add up the payloads instead would take 20 ns a message.
        more: i64 = 0
        start = position = begin
        try:
            while position < last and data[position] == first:
                length: i64 = data[position + 1]
                start = position + 2
                if length > max_short:
                    if length != LENGTH_IN_16_BITS or start + 2 > end:
                        break
                    length = data[start] << 8 | data[start + 1]
                    if length > self._max_size:
                        break
                    start += 2
                    more += 2
                stop = start + length
                if stop > end:
                    break
                run.append(data[start:stop].decode() if is_text else data[start:stop])
                position = stop
        except UnicodeDecodeError:
            raise not_utf8() from None
        finally:
            if start > position:
                # The last message was not taken.
                more -= start - position - 2
            messages.run_size += position - begin - more - 2 * (len(run) - count)
        return position

    def _read_packed_run(self, data: bytes, begin: i64) -> i64:
        """Reads compressed messages for as long as they belong to the run, and unpacks each.

        `_read_frame` would take 2.5 µs in place of 1.6 for a message of 159 bytes, uncompiled.
        """
        messages = self._messages
        max_short: i64 = self._max_short
        end: i64 = len(data)
        last = end - 1
        position = begin
        # `self._run` is read each time, because `append_packed` may deliver, and the handler may then call `finish`.
        while position < last and data[position] == self._run | RSV1:
            length: i64 = data[position + 1]
            start = position + 2
            if length > max_short:
                if length != LENGTH_IN_16_BITS or start + 2 > end:
                    break
                length = data[start] << 8 | data[start + 1]
                if length > self._max_size:
                    break
                start += 2
            stop = start + length
            if stop > end:
                break
            messages.append_packed(data[start:stop])
            position = stop
        return position

    def _read_frame(self, data: bytes, position: i64) -> i64:
        """Reads a frame of any kind, and returns where it ends. An incomplete frame is kept until the rest comes."""
        first, second = data[position], data[position + 1]
        end: i64 = len(data)
        if first != self._run:
            self._check(first, second)
        begin = position + 2
        length = second & LENGTH
        if length > MAX_SHORT:
            begin += 2 if length == LENGTH_IN_16_BITS else 8
            if begin > end:
                self._tail = data[position:]
                return end
            length = int.from_bytes(data[position + 2 : begin])
        self._begin(first, second, length)
        # Computed without the frame's end, which does not fit into 64 bits for the longest frames.
        missing: i64 = length - (end - begin)
        if missing > 0:
            self._first_byte = first
            self._begun = Pieces()
            self._begun.add(data[begin:])
            self._missing = missing
            return end
        stop = end + missing
        self._take(first, data[begin:stop])
        # A call beside `_read_run` would make compiled code a seventh slower for messages that are not compressed.
        return self._read_packed_run(data, stop) if self._is_packed else stop

    def _check(self, first: int, second: int) -> None:
        """Refuses a frame whose first two bytes are wrong."""
        opcode = first & OPCODE
        if opcode not in OPCODES:
            raise Violation(CloseCode.PROTOCOL_ERROR, f"a frame with the opcode {opcode}, which is reserved")
        is_control = opcode >= CLOSE
        may_be_packed = self._is_deflated and not is_control and not self._is_in_message
        if first & RSV2_AND_3 or (first & RSV1 and not may_be_packed):
            raise Violation(CloseCode.PROTOCOL_ERROR, "a frame with a reserved bit")
        if is_control and not first & FIN:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a control frame in fragments")
        if is_control and second & LENGTH > MAX_SHORT:
            raise Violation(CloseCode.PROTOCOL_ERROR, f"a control frame of more than {MAX_SHORT} bytes")

    def _begin(self, first: int, second: int, length: int) -> None:
        """Begins a frame whose header is complete. It refuses one that is too long or masked, before its payload."""
        if first & OPCODE <= BINARY:
            if not self._is_in_message:
                self._is_packed = bool(first & RSV1)
            self._is_in_message = not first & FIN
            if length > self._max_length:
                raise self._messages.too_big()
        if second & MASKED:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a frame from the server is masked")

    def _take(self, first: int, payload: bytes) -> None:
        run = self._messages.on_frame(bool(first & FIN), first & OPCODE, payload, self._is_packed)
        self._run = NO_RUN if run == NO_RUN else FIN | run
