"""Receiving with aiohttp's compiled parser, the one module that reaches into aiohttp beyond its public names.

The parser is aiohttp's; what it does with a frame is ours, because it accepts a few things that RFC 6455 forbids
(masked frames from a server, close codes that must not be sent, a new message within a fragmented one) and refuses a
message of exactly the allowed size. Importing this fails where the names are gone, and `check` where they mean
something else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aiohttp import WebSocketError
from aiohttp._websocket.helpers import websocket_mask as mask
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from rxnodes.errors import ProtocolError
from rxnodes.lifecycle.states import CloseCode
from rxnodes.transport.messages import CLOSE, MASKED, NO_RUN, RSV1, FrameHandler, Messages, Violation, longest_frame

if TYPE_CHECKING:
    from rxnodes.transport.frames import Deflate

__all__ = ["FastParser", "check", "mask"]

#: aiohttp's parser folds the reads of one frame into a bytearray beyond so many of them at least.
MIN_FOLDED_READS = 1024
BYTES_PER_FOLDED_READ = 256

LONGEST_HEADER = 10

#: aiohttp's queue, which is used without a connection and a loop here.
_Results: Any = WebSocketDataQueue

#: Bytes that a message may have in the check.
SAMPLE_LIMIT = 4


class FastParser(WebSocketReader):
    """aiohttp's parser, delivering what `Messages` makes of its frames.

    Args:
        handler: What is called, in order, within `feed`.
        max_size: Bytes a message may have, unpacked; `None`: no limit.
        deflate: Compression, where it was negotiated.
    """

    __slots__ = (
        "_append",
        "_control_bits",
        "_is_exact",
        "_messages",
        "_reads",
        "_results",
        "_run",
        "_unfolded_reads",
    )

    def __init__(
        self,
        handler: FrameHandler,
        *,
        max_size: int | None,
        deflate: Deflate | None,
    ) -> None:
        # It refuses from this length on, by what a frame declares alone, so one more than is allowed.
        declared = 0 if max_size is None else longest_frame(max_size, is_packed=deflate is not None) + 1
        # Where the parser leaves its errors; nothing else comes there.
        self._results = _Results(None, 0, loop=None)
        super().__init__(self._results, declared, deflate is not None, False)  # noqa: FBT003
        self._messages = Messages(handler, max_size, deflate)
        self._append = self._messages.payloads.append
        self._run = NO_RUN
        # Otherwise the size of what is not compressed has to be looked at.
        self._is_exact = deflate is None
        self._control_bits = None if deflate is None else _ControlBits()
        # As aiohttp reckons it.
        self._unfolded_reads = max(MIN_FOLDED_READS, declared // BYTES_PER_FOLDED_READ) if declared else math.inf
        self._reads = 0

    def feed(self, data: bytes) -> None:
        """Parses what has come.

        Raises:
            ProtocolError: If the peer broke the protocol. What came before is delivered.
        """
        messages = self._messages
        if messages.is_done:
            return
        self._reads += 1
        forbidden = None if self._control_bits is None else self._control_bits.find_forbidden(data)
        failed, _ = self.feed_data(data if forbidden is None else data[:forbidden])
        violation = self._violation() if failed else None
        if forbidden is not None and violation is None:
            violation = Violation(CloseCode.PROTOCOL_ERROR, "a control frame with the bit of a compressed message")
        if messages.payloads or violation is not None:
            self._reads = 0
            messages.end_read(violation)

    def finish(self) -> None:
        """Ignores whatever comes from here on."""
        self._messages.finish()
        self._run = NO_RUN

    def _handle_frame(self, fin: bool, opcode: int, payload: bytes | bytearray, compressed: int) -> None:  # noqa: FBT001 - aiohttp's signature
        # The hot path: one more whole message of the run. Its length was checked by the parser.
        if opcode == self._run and fin and not compressed and type(payload) is bytes:
            self._append(payload)
            return
        if type(payload) is not bytes:
            payload = self._unmasked(payload)
        self._reads = 0
        run = self._messages.on_frame(fin, opcode, payload, compressed)
        self._run = run if self._is_exact else NO_RUN

    def _unmasked(self, payload: bytes | bytearray) -> bytes:
        """Refuses a masked frame (RFC 6455 section 5.1), which aiohttp unmasks into a `bytearray`.

        It also gives one for a frame that came in very many reads, where it has a limit; such a frame is let pass.
        """
        if self._reads <= self._unfolded_reads:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a frame from the server is masked")
        return bytes(payload)

    def _violation(self) -> BaseException | None:
        """What has failed, in words of ours where aiohttp's would tell its own limit."""
        error: BaseException | None = self._results.exception()
        if not isinstance(error, WebSocketError):
            return error
        if error.code == CloseCode.MESSAGE_TOO_BIG:
            return self._messages.too_big()
        return Violation(CloseCode(error.code), str(error.args[1]))


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
            # As the parser does, when two bytes are there.
            if len(header) > 1 and header[0] & RSV1 and header[0] & CLOSE:
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


class _Sample(FrameHandler):
    """Keeps what comes out of samples; stands in for compression, too."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def feed(self, *reads: bytes, is_packed: bool = False) -> None:
        deflate: Any = self if is_packed else None
        parser = FastParser(self, max_size=SAMPLE_LIMIT, deflate=deflate)
        try:
            for read in reads:
                parser.feed(read)
        except ProtocolError as error:
            self.seen.append(error.code)

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:  # noqa: ARG002 - as the handler's
        self.seen += messages

    def on_close(self, code: int, reason: str) -> None:
        self.seen.append((code, reason))

    def on_ping(self, payload: bytes) -> None:
        self.seen.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        self.seen.append(("pong", payload))

    def decompress(self, payload: bytes, _limit: int | None) -> bytes:
        return payload.upper()


def check() -> None:
    """Tries aiohttp's parser and mask on samples, which takes less than importing this module.

    Raises:
        RuntimeError: If they do anything that rxnodes does not expect. Any other exception says so, too.
    """
    sample = _Sample()
    # Whole messages, in one read and in two; then one in fragments, with a ping between them; a pong and a Close frame.
    sample.feed(b"\x81", b"\x01a\x81\x01b\x81\x02c", b"d\x02\x01e\x89\x01f", b"\x80\x01g\x8a\0\x88\x02\x03\xe8")
    # As long as is allowed; longer, by what is declared alone; masked; with a reserved bit; compressed.
    sample.feed(b"\x82\x04full", b"\x82\x05")
    sample.feed(b"\x82\x84\0\0\0\0full")
    sample.feed(b"\xa2\x04full")
    sample.feed(b"\xc1\x04full", is_packed=True)
    expected = [*"ab", "cd", ("ping", b"f"), ("pong", b""), b"eg", (1000, ""), b"full", 1009, 1002, 1002, "FULL"]
    if sample.seen != expected:
        raise RuntimeError(f"the parser makes {sample.seen} of samples")
    masked = bytearray(b"hello")
    mask(b"\1\2\3\4", masked)
    if bytes(masked) != b"igohn":
        raise RuntimeError(f"the mask makes {masked} of a sample")
