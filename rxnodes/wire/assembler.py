"""The assembler: makes messages of frames, as RFC 6455 and RFC 7692 say."""

from __future__ import annotations

import logging
import math
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from rxnodes.errors import ProtocolError
from rxnodes.lifecycle.states import CloseCode, is_close_code
from rxnodes.wire.opcodes import BINARY, CLOSE_CODE, CONTINUATION, PING, PONG, Violation

if TYPE_CHECKING:
    from rxnodes.wire.deflate import Deflate

__all__ = ["NO_RUN", "PARTS_PER_BLOCK", "FrameHandler", "MessageAssembler", "longest_frame"]

logger = logging.getLogger("rxnodes.wire")

#: An opcode that no frame has.
NO_RUN: Final = -1

#: How many fragments a message may have: one for every 64 bytes of its limit, and 1,024 at least. A message without a
#: limit may have any number, except of empty ones.
MIN_FRAGMENTS = 1024
BYTES_PER_FRAGMENT = 64
MAX_EMPTY_FRAGMENTS = 1024

#: So many parts of a payload, or of a message, are joined into one block: each is an object, and they may be small.
PARTS_PER_BLOCK: Final = 1024

#: One read may become so many bytes, unpacked, before they are delivered; beyond that, each message is delivered alone.
MAX_UNPACKED_RUN = 2**20


class FrameHandler(Protocol):
    """What a `FrameParser` calls, within `feed`."""

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


def longest_frame(max_size: int, *, is_packed: bool) -> int:
    """How long a frame of a message of `max_size` bytes may be: deflate lengthens data that it cannot compress."""
    return max_size + max_size // 1000 + 64 if is_packed else max_size


class MessageAssembler:
    """Makes messages of frames.

    The messages of one read are delivered together, which costs less than message by message, and is no later. A run is
    a series of whole messages of one opcode: their payloads wait until the read is parsed, or a frame of another kind
    comes. The parser may append to the run by itself, which is the hot path.

    Args:
        handler: Called in the order of the frames.
        max_size: Bytes a message may have, unpacked; `None`: no limit.
        deflate: Compression, where it was negotiated.

    Attributes:
        payloads: The payloads of the run.
        is_done: Whether nothing is delivered any more.
    """

    __slots__ = (
        "_blocks",
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
        "_run",
        "_unpacked_size",
        "is_done",
        "payloads",
    )

    def __init__(self, handler: FrameHandler, max_size: int | None, deflate: Deflate | None) -> None:
        self._handler = handler
        self._limit = max_size
        self._fragment_limit = math.inf if max_size is None else max(MIN_FRAGMENTS, max_size // BYTES_PER_FRAGMENT)
        self._deflate = deflate
        # The message that has come in part: its blocks, the fragments behind them, and their number and size.
        self._blocks: list[bytes] = []
        self._fragments: list[bytes] = []
        self._fragmented_opcode = CONTINUATION
        self._fragments_size = 0
        self._fragment_count = 0
        self._empty_fragments = 0
        self.is_done = False
        # The opcode of the run; there is no run while a message is in fragments, nor at the end.
        self._run = NO_RUN
        self._unpacked_size = 0
        self.payloads: list[bytes] = []
        # The last payload is kept until the next one comes. Otherwise Python returns the arena of small messages to the
        # system, and faults it in again for the next read: a fifth of the time of a message of 32 bytes.
        self._last = b""

    def on_frame(self, fin: bool, opcode: int, payload: bytes, compressed: int) -> int:  # noqa: FBT001 - as frames are
        """Takes a frame.

        Args:
            fin: Whether its message ends with it.
            opcode: One that RFC 6455 knows.
            payload: The payload.
            compressed: Whether its message is.

        Returns:
            The opcode of the run. Instead of calling this, the payload of a whole message with this opcode may be
            appended to `payloads`, if it is neither compressed nor too big.

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
        return self._run

    def end_read(self, violation: BaseException | None) -> None:
        """Delivers the messages of one read.

        Args:
            violation: The error behind them; `None`: there is none.

        Raises:
            ProtocolError: If the peer broke the protocol, behind the messages or in them.
        """
        try:
            self._flush()
        except Violation as error:
            violation = error
        if violation is not None and not self.is_done:
            self.finish()
            raise _protocol_error(violation)

    def finish(self) -> None:
        """Delivers nothing from here on."""
        self.is_done = True
        self._run = NO_RUN

    def too_big(self) -> Violation:
        """The violation of a message with more bytes than allowed."""
        text = "a frame that is larger than any memory"
        if self._limit is not None:
            text = f"a message of more than max_message_size ({self._limit} bytes)"
        return Violation(CloseCode.MESSAGE_TOO_BIG, text)

    def _flush(self) -> None:
        """Delivers the run, as far as it is valid; nothing if `finish` was called within a delivery before."""
        if self.is_done:
            self.payloads.clear()
        payloads = self.payloads[:]
        if not payloads:
            return
        self.payloads.clear()
        self._unpacked_size = 0
        self._last = payloads[-1]
        if self._run == BINARY:
            self._handler.on_messages(payloads, sum(map(len, payloads)))
            return
        try:
            texts = list(map(bytes.decode, payloads))
        except UnicodeDecodeError:
            texts = _valid_texts(payloads)
        else:
            self._handler.on_messages(texts, sum(map(len, payloads)))
            return
        if texts:
            self._handler.on_messages(texts, sum(map(len, payloads[: len(texts)])))
        raise Violation(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a text message that is not UTF-8")

    def _on_data(self, fin: bool, opcode: int, payload: bytes, compressed: int) -> None:  # noqa: FBT001
        """Takes a frame of a message: assembles fragments (RFC 6455 section 5.4), and unpacks."""
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
        elif not compressed and self._limit is not None and len(payload) > self._limit:
            raise self.too_big()
        self._begin_run(opcode)
        if not compressed:
            self.payloads.append(payload)
            return
        unpacked = self._unpack(payload)
        self.payloads.append(unpacked)
        self._unpacked_size += len(unpacked)
        if self._unpacked_size > MAX_UNPACKED_RUN:
            self._flush()

    def _keep_fragment(self, opcode: int, payload: bytes, compressed: int) -> None:
        self._begin_run(NO_RUN)
        self._fragmented_opcode = opcode
        self._fragments_size += len(payload)
        if self._limit is not None and self._fragments_size > longest_frame(self._limit, is_packed=bool(compressed)):
            raise self.too_big()
        if payload:
            self._fragment_count += 1
            self._fragments.append(payload)
            if len(self._fragments) == PARTS_PER_BLOCK:
                self._blocks.append(b"".join(self._fragments))
                self._fragments.clear()
        else:
            self._empty_fragments += 1
        if self._fragment_count > self._fragment_limit:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {self._fragment_limit} fragments")
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {MAX_EMPTY_FRAGMENTS} empty fragments")

    def _join_fragments(self) -> bytes:
        """The payload of the message that is whole now."""
        payload = b"".join([*self._blocks, *self._fragments])
        self._blocks.clear()
        self._fragments.clear()
        self._fragmented_opcode = CONTINUATION
        self._fragments_size = self._fragment_count = self._empty_fragments = 0
        return payload

    def _begin_run(self, opcode: int) -> None:
        if self._run != opcode:
            self._flush()
            self._run = opcode

    def _unpack(self, payload: bytes) -> bytes:
        assert self._deflate is not None
        try:
            unpacked = self._deflate.decompress(payload, self._limit)
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
        raise Violation(CloseCode.PROTOCOL_ERROR, "a Close frame with half a close code")
    (code,) = CLOSE_CODE.unpack_from(payload)
    if not is_close_code(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, f"a Close frame with the code {code}, which must not be sent")
    try:
        return code, payload[CLOSE_CODE.size :].decode()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "a close reason that is not UTF-8") from None
