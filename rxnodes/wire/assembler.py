"""The assembler: makes messages of frames, as RFC 6455 and RFC 7692 say."""

from __future__ import annotations

import logging
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final

from rxnodes.errors import ProtocolError
from rxnodes.lifecycle.states import CloseCode, is_close_code
from rxnodes.wire.opcodes import BINARY, CLOSE_CODE, CONTINUATION, PING, PONG, TEXT, Violation

if TYPE_CHECKING:
    from rxnodes.wire.deflate import Deflate
    from rxnodes.wire.protocols import FrameHandler

__all__ = ["NO_LIMIT", "NO_RUN", "MessageAssembler", "Pieces", "longest_frame", "not_utf8"]

logger = logging.getLogger("rxnodes.wire")

#: An opcode that no frame has.
NO_RUN: Final = -1

#: No message can have so many bytes.
NO_LIMIT: Final = sys.maxsize

#: A message may have one fragment for every 64 bytes of its limit, and 1,024 in any case. Without a limit it may have
#: any number. Empty fragments have a limit of their own.
MIN_FRAGMENTS: Final = 1024
BYTES_PER_FRAGMENT: Final = 64
MAX_EMPTY_FRAGMENTS: Final = 1024

#: So many parts of a payload are joined into one block.
PARTS_PER_BLOCK: Final = 1024

#: A run is delivered before the read ends when its messages have more bytes than this, unpacked.
MAX_UNPACKED_RUN: Final = 1024 * 1024


def longest_frame(max_size: int, *, is_packed: bool) -> int:
    """How long a frame may be, for a limit of `max_size` bytes. Deflate lengthens data that it cannot compress."""
    return min(NO_LIMIT, max_size + max_size // 1000 + 64) if is_packed else max_size


def not_utf8() -> Violation:
    """Makes the violation for a text message that is not UTF-8 (RFC 6455 section 8.1)."""
    return Violation(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a text message that is not UTF-8")


class Pieces:
    """The parts of a payload, in order.

    Each part is an object, and may be small. So many parts are joined into a block, which takes less memory.
    """

    __slots__ = ("_blocks", "_parts")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Adds a part at the end."""
        self._parts.append(part)
        if len(self._parts) == PARTS_PER_BLOCK:
            self._blocks.append(b"".join(self._parts))
            self._parts.clear()

    def join(self) -> bytes:
        """The whole payload."""
        return b"".join([*self._blocks, *self._parts])


class MessageAssembler:
    """Makes messages of frames.

    The messages of one read are delivered together: this costs less than one by one, and makes none of them later. They
    form runs. A run is a series of whole messages of one opcode. It is delivered when the read has been parsed, or when
    a frame of another kind comes. The parser may append to the run by itself, which is the hot path.

    Args:
        handler: Called in the order of the frames.
        max_size: How many bytes a message may have, unpacked; `NO_LIMIT`: any number.
        deflate: The compression that was negotiated; `None`: none.

    Attributes:
        run: The messages of the run, all `str` or all `bytes`.
        run_size: How many bytes they have together.
        is_done: Whether nothing more will be delivered.
    """

    __slots__ = (
        "_deflate",
        "_empty_fragments",
        "_fragment_count",
        "_fragment_limit",
        "_fragmented_opcode",
        "_fragments",
        "_fragments_size",
        "_handler",
        "_last",
        "_limit",
        "_opcode",
        "is_done",
        "run",
        "run_size",
    )

    def __init__(self, handler: FrameHandler, max_size: int, deflate: Deflate | None) -> None:
        self._handler = handler
        self._limit = max_size
        self._fragment_limit = max(MIN_FRAGMENTS, max_size // BYTES_PER_FRAGMENT)
        self._deflate = deflate
        # The message that is not complete: its fragments, its opcode, and the fragments' size and number.
        self._fragments: Pieces | None = None
        self._fragmented_opcode = CONTINUATION
        self._fragments_size = 0
        self._fragment_count = 0
        self._empty_fragments = 0
        self.is_done = False
        # The opcode of the run. There is no run while a message comes in fragments, nor after the end.
        self._opcode = NO_RUN
        self.run: list[Any] = []
        self.run_size = 0
        # The last message is kept until the next one comes. Otherwise Python would give the memory of small messages
        # back to the system and fetch it again for the next read: a fifth of the time of a message of 32 bytes.
        self._last: str | bytes = b""

    def on_frame(self, fin: bool, opcode: int, payload: bytes, compressed: bool) -> int:  # noqa: FBT001 - as frames are
        """Takes a frame.

        Args:
            fin: Whether the frame is the last one of its message.
            opcode: One of the opcodes of RFC 6455.
            payload: The frame's payload.
            compressed: Whether the frame's message is compressed.

        Returns:
            The opcode of the run. The parser need not call this for a whole message with this opcode. If the message is
            neither compressed nor too big, the parser may append it to `run` and count it in `run_size`. If it is
            compressed, the parser may call `append_packed`.

        Raises:
            Violation: If the peer broke the protocol.
        """
        if self.is_done:
            return NO_RUN
        if opcode <= BINARY:
            self._on_data(fin, opcode, payload, compressed)
        elif opcode == PING:
            self._handler.on_ping(payload)
        elif opcode == PONG:
            self._handler.on_pong(payload)
        else:
            code, reason = _parse_close(payload)
            self._flush()
            if not self.is_done:
                self.finish()
                self._handler.on_close(code, reason)
        return self._opcode

    def end_read(self, violation: BaseException | None) -> None:
        """Delivers the messages of one read.

        Args:
            violation: The error after the messages; `None`: there was none.

        Raises:
            ProtocolError: If there was an error.
        """
        self._flush()
        if violation is not None and not self.is_done:
            self.finish()
            raise _protocol_error(violation)

    def finish(self) -> None:
        """Delivers nothing from here on."""
        self.is_done = True
        self._opcode = NO_RUN

    def too_big(self) -> Violation:
        """Makes the violation for a message with more bytes than allowed."""
        text = "a frame that is larger than any memory"
        if self._limit != NO_LIMIT:
            text = f"a message of more than max_message_size ({self._limit} bytes)"
        return Violation(CloseCode.MESSAGE_TOO_BIG, text)

    def _flush(self) -> None:
        """Delivers the run, or discards it if the handler has called `finish` within an earlier delivery."""
        run, size = self.run, self.run_size
        if not run:
            return
        self.run = []
        self.run_size = 0
        if not self.is_done:
            self._last = run[-1]
            self._handler.on_messages(run, size)

    def _on_data(self, fin: bool, opcode: int, payload: bytes, compressed: bool) -> None:  # noqa: FBT001
        """Takes a frame of a message. It assembles fragments (RFC 6455 section 5.4), and unpacks a whole message."""
        if opcode == CONTINUATION:
            if not self._fragmented_opcode:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a continuation frame without a message to continue")
            opcode = self._fragmented_opcode
        elif self._fragmented_opcode:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a new message within a fragmented one")
        if not fin or self._fragmented_opcode:
            self._keep_fragment(opcode, payload, compressed)
            if not fin:
                return
            payload = self._join_fragments()
        elif not compressed and len(payload) > self._limit:
            raise self.too_big()
        self._begin_run(opcode)
        if compressed:
            self.append_packed(payload)
        else:
            self._append(payload)

    def append_packed(self, payload: bytes) -> None:
        """Unpacks a whole message, and appends it to the run.

        Raises:
            Violation: If it cannot be unpacked, is too big, or is a text message that is not UTF-8.
        """
        self._append(self._unpack(payload))
        if self.run_size > MAX_UNPACKED_RUN:
            self._flush()

    def _append(self, payload: bytes) -> None:
        """Appends a whole message to the run."""
        if self._opcode == TEXT:
            try:
                self.run.append(payload.decode())
            except UnicodeDecodeError:
                raise not_utf8() from None
        else:
            self.run.append(payload)
        self.run_size += len(payload)

    def _keep_fragment(self, opcode: int, payload: bytes, compressed: bool) -> None:  # noqa: FBT001
        self._begin_run(NO_RUN)
        if self._fragments is None:
            self._fragments = Pieces()
        self._fragmented_opcode = opcode
        self._fragments_size += len(payload)
        if self._fragments_size > longest_frame(self._limit, is_packed=compressed):
            raise self.too_big()
        if payload:
            self._fragment_count += 1
            self._fragments.add(payload)
        else:
            self._empty_fragments += 1
        if self._fragment_count > self._fragment_limit:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {self._fragment_limit} fragments")
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {MAX_EMPTY_FRAGMENTS} empty fragments")

    def _join_fragments(self) -> bytes:
        """Joins the fragments of a message whose last one has come."""
        assert self._fragments is not None
        payload = self._fragments.join()
        self._fragments = None
        self._fragmented_opcode = CONTINUATION
        self._fragments_size = self._fragment_count = self._empty_fragments = 0
        return payload

    def _begin_run(self, opcode: int) -> None:
        if self._opcode != opcode:
            self._flush()
            self._opcode = opcode

    def _unpack(self, payload: bytes) -> bytes:
        assert self._deflate is not None
        try:
            unpacked = self._deflate.decompress(payload, None if self._limit == NO_LIMIT else self._limit)
        except zlib.error:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a compressed message that cannot be unpacked") from None
        if unpacked is None:
            raise self.too_big()
        return unpacked


def _protocol_error(error: BaseException) -> ProtocolError:
    if isinstance(error, Violation):
        return ProtocolError(str(error), code=int(error.code))
    logger.error("the frame parser failed", exc_info=error)
    return ProtocolError("the frame parser failed", code=CloseCode.PROTOCOL_ERROR)


def _parse_close(payload: bytes) -> tuple[int, str]:
    """Reads the code and the reason of a Close frame (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return int(CloseCode.NO_STATUS_RECEIVED), ""
    if len(payload) == 1:
        raise Violation(CloseCode.PROTOCOL_ERROR, "a Close frame with half a close code")
    (code,) = CLOSE_CODE.unpack_from(payload)
    if not is_close_code(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, f"a Close frame with the code {code}, which must not be sent")
    try:
        return code, payload[CLOSE_CODE.size :].decode()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a close reason that is not UTF-8") from None
