"""A stand-in for Autobahn's fuzzing server, for the tests of the gate and for every day.

It speaks the suite's protocol (`getCaseCount`, `runCase`, `getCaseStatus`, `getCaseInfo`, `updateReports`), plays the
cases of `cases`, and judges as the suite does: what came back against what may come back, and by whom and with which
code the connection was closed. What a client sends is held to RFC 6455 and RFC 7692 down to the bit.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from rxnodes.testing import RSV1, Close, Frame, Opcode, WebSocketServer, close_payload, parse_close

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from rxnodes.testing import Peer

#: Seconds that a case may take.
CASE_TIME = 10.0

#: Seconds in which a client that fails fast has failed.
FAST = 0.05

FRAGMENT_OPCODES = (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY)
DEFLATE_TAIL = b"\x00\x00\xff\xff"


class FoulError(Exception):
    """The client did what no case allows."""


class Event(NamedTuple):
    """What a client sent.

    Attributes:
        kind: `text`, `binary`, `ping` or `pong`.
        payload: Its payload, unpacked.
    """

    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Packing:
    """An answer to an offer of permessage-deflate (RFC 7692 section 7.1).

    Attributes:
        client_bits: The window that the client is asked to keep to; `None`: it is not asked.
        client_fresh: Whether the client is asked to compress each message on its own.
        server_bits: The window that we keep to; `None`: any.
        server_fresh: Whether we compress each message on its own.
    """

    client_bits: int | None = None
    client_fresh: bool = False
    server_bits: int | None = None
    server_fresh: bool = False

    def answer(self, offer: str) -> str | None:
        """The answer's header; `None` where the offer does not allow it."""
        name, *parameters = (part.strip() for part in offer.split(",", maxsplit=1)[0].split(";"))
        offered = {parameter.partition("=")[0].strip() for parameter in parameters}
        if name != "permessage-deflate" or (self.client_bits is not None and "client_max_window_bits" not in offered):
            return None
        chosen = [
            ("client_max_window_bits", self.client_bits),
            ("client_no_context_takeover", self.client_fresh or None),
            ("server_max_window_bits", self.server_bits),
            ("server_no_context_takeover", self.server_fresh or None),
        ]
        words = [key if value is True else f"{key}={value}" for key, value in chosen if value is not None]
        return "; ".join([name, *words])


class Packer:
    """Packs our messages and unpacks the client's, as agreed.

    The window that unpacks is no larger than the client's may be, and it is empty where the client is to begin anew: a
    client that does not keep to it sends what cannot be unpacked.
    """

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._step = 0 if packing.client_bits in (None, zlib.MAX_WBITS) else 1 << packing.client_bits
        self._begin_packing()
        self._begin_unpacking()

    def _begin_packing(self) -> None:
        self._compressor = zlib.compressobj(level=1, wbits=-(self._packing.server_bits or zlib.MAX_WBITS))

    def _begin_unpacking(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=-(self._packing.client_bits or zlib.MAX_WBITS))

    def pack(self, payload: bytes) -> bytes:
        if self._packing.server_fresh:
            self._begin_packing()
        packed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(DEFLATE_TAIL)

    def unpack(self, payload: bytes) -> bytes:
        if self._packing.client_fresh:
            self._begin_unpacking()
        unpacked, data = [], payload + DEFLATE_TAIL
        try:
            # Within what one call gives, zlib allows references of any length, so that is to be little.
            while data:
                unpacked.append(self._decompressor.decompress(data, self._step))
                data = self._decompressor.unconsumed_tail
        except zlib.error as error:
            raise FoulError(f"the client's message cannot be unpacked as agreed: {error}") from None
        return b"".join(unpacked)


class Bout:
    """One case against one client.

    Attributes:
        received: What came, in order.
        close: The client's Close frame.
        closed_by_us: Whether our Close frame was sent before the client's came.
    """

    def __init__(self, peer: Peer, packer: Packer | None) -> None:
        self.received: list[Event] = []
        self.close: Close | None = None
        self.closed_by_us = False
        self._peer = peer
        self._packer = packer
        self._is_over = False
        self._fragments = bytearray()
        self._first: Frame | None = None

    async def send(self, *frames: Frame, chop: int | None = None) -> None:
        """Sends frames: all in one write, or so many octets at a time."""
        await self.send_raw(b"".join(frame.encode() for frame in frames), chop=chop)

    async def send_raw(self, data: bytes, *, chop: int | None = None) -> None:
        """Sends octets; none any more to a client that has ended the connection."""
        size = chop or max(1, len(data))
        try:
            for at in range(0, len(data), size):
                await self._peer.send_raw(data[at : at + size])
                if chop is not None:
                    # The client has its turn, or it would see all of them as one.
                    await asyncio.sleep(0)
        except ConnectionError:
            self._is_over = True

    async def send_message(self, message: Event, fragment: int = 0) -> None:
        """Sends a message, packed where that was agreed, in fragments of at most so many octets."""
        payload, rsv = message.payload, 0
        if self._packer is not None:
            payload, rsv = self._packer.pack(payload), RSV1
        await self.send_raw(fragments(message.kind, payload, fragment, rsv))

    async def send_close(self, payload: bytes, *then: Frame) -> None:
        """Sends a Close frame and what is to follow it."""
        self.closed_by_us = self.close is None and not self._is_over
        await self.send(Frame(Opcode.CLOSE, payload), *then)

    async def hear(self, count: int) -> None:
        """Listens until so many events have come, or the end."""
        while not self._is_over and len(self.received) < count:
            await self._hear_one()

    async def hear_out(self) -> None:
        """Listens until the client's Close frame has come, or the connection has ended."""
        while not self._is_over:
            await self._hear_one()

    async def fails_fast(self) -> bool:
        """Whether the client ends the connection by itself, and soon."""
        try:
            async with asyncio.timeout(FAST):
                await self.hear_out()
        except TimeoutError:
            return False
        return True

    async def _hear_one(self) -> None:
        try:
            frame = await self._peer.receive()
        except ConnectionError:
            self._is_over = True
            return
        if not frame.masked:
            raise FoulError(f"the client did not mask {frame!r:.100}")
        if frame.opcode in FRAGMENT_OPCODES:
            self._hear_fragment(frame)
        elif frame.rsv or not frame.fin or len(frame.payload) > 125:
            raise FoulError(f"the client sent a control frame that is none: {frame!r:.100}")
        elif frame.opcode == Opcode.CLOSE:
            self._hear_close(frame)
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            self.received.append(Event("ping" if frame.opcode == Opcode.PING else "pong", frame.payload))
        else:
            raise FoulError(f"the client sent a reserved opcode: {frame!r:.100}")

    def _hear_close(self, frame: Frame) -> None:
        try:
            self.close = parse_close(frame.payload)
        except ValueError as error:
            raise FoulError(f"the client sent a Close frame that is none: {error}") from None
        self._is_over = True

    def _hear_fragment(self, frame: Frame) -> None:
        is_first = frame.opcode != Opcode.CONTINUATION
        if is_first != (self._first is None):
            raise FoulError(f"the client's fragments are in disorder at {frame!r:.100}")
        if frame.rsv & ~(RSV1 if is_first and self._packer is not None else 0):
            raise FoulError(f"the client set bits that were not agreed on in {frame!r:.100}")
        self._first = self._first or frame
        self._fragments += frame.payload
        if not frame.fin:
            return
        first, payload = self._first, bytes(self._fragments)
        self._first = None
        self._fragments.clear()
        if first.rsv:
            assert self._packer is not None
            payload = self._packer.unpack(payload)
        self.received.append(Event("text" if first.opcode == Opcode.TEXT else "binary", payload))

    async def finish(self) -> None:
        """Answers the client's Close frame, where that is due, and ends TCP as a server does: first."""
        if self.close is not None and not self.closed_by_us:
            await self.send(Frame(Opcode.CLOSE, close_payload(None if self.close.code == 1005 else self.close.code)))
        await self._peer.close()


def fragments(kind: str, payload: bytes, size: int, rsv: int = 0) -> bytes:
    """A message as frames of at most so many octets; 0: as one."""
    opcode = Opcode.TEXT if kind == "text" else Opcode.BINARY
    step = size or max(1, len(payload))
    starts = range(0, max(1, len(payload)), step)
    return b"".join(
        Frame(
            Opcode.CONTINUATION if start else opcode,
            payload[start : start + step],
            fin=start == starts[-1],
            rsv=0 if start else rsv,
        ).encode()
        for start in starts
    )


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    Attributes:
        name: Its name in the suite.
        play: Plays it, and gives the behavior.
        closed_by_us: Whether it is we who are to close.
        codes: With which codes the client may close; an end without a Close frame is judged by `must_be_clean` alone.
        must_be_clean: Whether the client's Close frame must come.
        is_informational: Whether the behavior is told, but not judged.
        packings: What to answer to an offer of compression, the preferred first.
        messages: What is sent, for whoever wants to know.
    """

    name: str
    play: Callable[[Bout], Awaitable[str]]
    closed_by_us: bool = True
    codes: frozenset[int] = frozenset({1000})
    must_be_clean: bool = True
    is_informational: bool = False
    packings: tuple[Packing, ...] = ()
    messages: Callable[[], Iterator[Event]] = lambda: iter(())


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case."""

    behavior: str
    close: str


class FuzzingServer(WebSocketServer):
    """Plays cases against whoever connects, and judges.

    Args:
        cases: The cases.
        reports: Where `index.json` is written when the client asks for it.
    """

    def __init__(self, cases: Sequence[Case], *, reports: Path | None = None) -> None:
        super().__init__(self._serve_client)
        self._cases = cases
        self._reports = reports
        self._results: defaultdict[tuple[str, int], asyncio.Future[Result]] = defaultdict(_new_future)

    async def _serve_client(self, peer: Peer) -> None:
        request = await peer.read_request()
        target = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        number = int(query.get("case", 0))
        agent = query.get("agent", "")
        what = target.path.strip("/")
        if what == "runCase":
            await self._run_case(peer, agent, number)
            return
        await peer.accept()
        if what == "getCaseCount":
            await peer.send_text(json.dumps(len(self._cases)))
        elif what == "getCaseStatus":
            await peer.send_text(json.dumps({"behavior": (await self._results[agent, number]).behavior}))
        elif what == "getCaseInfo":
            await peer.send_text(json.dumps({"id": self._cases[number - 1].name, "description": ""}))
        elif what == "updateReports":
            self._write_reports()
        await peer.send_close(1000)
        await peer.expect_close()

    async def _run_case(self, peer: Peer, agent: str, number: int) -> None:
        case = self._cases[number - 1]
        self._results[agent, number].set_result(await self._judge(peer, case))

    async def _judge(self, peer: Peer, case: Case) -> Result:
        assert peer.request is not None
        offer = peer.request.header("Sec-WebSocket-Extensions") or ""
        answers = ((packing, packing.answer(offer)) for packing in case.packings)
        packing, extensions = next(((packing, answer) for packing, answer in answers if answer), (None, None))
        await peer.accept(extensions=extensions)
        bout = Bout(peer, None if packing is None else Packer(packing))
        try:
            async with asyncio.timeout(CASE_TIME):
                if case.packings and packing is None:
                    behavior = "UNIMPLEMENTED"
                    await bout.send_close(close_payload(1000))
                else:
                    behavior = await case.play(bout)
                await bout.hear_out()
                await bout.finish()
        except (FoulError, TimeoutError):
            return Result("FAILED", "FAILED")
        if case.is_informational:
            return Result("INFORMATIONAL", "INFORMATIONAL")
        close = _judge_close(bout, case)
        # A wrong close is the client's answer to a case about closing, so it fails that.
        is_about_closing = case.name.startswith("7.")
        return Result("FAILED" if is_about_closing and close != "OK" else behavior, close)

    def _write_reports(self) -> None:
        if self._reports is None:
            return
        index: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        for (agent, number), result in sorted(self._results.items()):
            behaviors = {"behavior": result.result().behavior, "behaviorClose": result.result().close}
            index[agent][self._cases[number - 1].name] = behaviors
        (self._reports / "index.json").write_text(json.dumps(index))


def _new_future() -> asyncio.Future[Result]:
    return asyncio.get_running_loop().create_future()


def _judge_close(bout: Bout, case: Case) -> str:
    if bout.closed_by_us is not case.closed_by_us:
        return "FAILED"
    if bout.close is None:
        return "UNCLEAN" if case.must_be_clean else "OK"
    return "OK" if bout.close.code in {*case.codes, 1005} else "WRONG CODE"
