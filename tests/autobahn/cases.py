"""The cases of the Autobahn test suite for clients, by their names there, as the stand-in plays them.

What is sent and what may come back is the suite's. Sizes and counts are smaller where they would take long, and where
the suite waits a second, the stand-in waits for what the client does. Cases beyond the suite's are named `X.…`.
"""

from __future__ import annotations

import functools
import random
import zlib
from typing import TYPE_CHECKING

from autobahn.stand_in import Bout, Case, Event, FoulError, Packing, fragments
from rxnodes.testing import RSV1, Frame, Opcode, close_payload, deflate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Play = Callable[[Bout], Awaitable[str]]

TEXT, BINARY, MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
PING, PONG, CLOSE = Opcode.PING, Opcode.PONG, Opcode.CLOSE

KIB, MIB = 1024, 1024 * 1024

#: The suite goes up to 16 MiB in one frame, 4 MiB in fragments and 1 MiB in chops.
LARGEST = 4 * MIB
LARGEST_IN_FRAGMENTS = MIB
LARGEST_IN_CHOPS = 128 * KIB

#: Where the suite sends 1000 messages.
MESSAGES = 100
PACKED_MESSAGES = 3

#: Text of two, three and four octets a character.
MIXED = "Hello-µ@ßöäüàá-UTF-8!! κόσμε €𤭢 "


def ok(*, when: bool) -> str:
    return "OK" if when else "FAILED"


def pong(payload: bytes) -> Event:
    return Event("pong", payload)


def text(payload: bytes) -> Event:
    return Event("text", payload)


# How a case is played


def answered(*frames: Frame, by: tuple[Event, ...], chop: int | None = None) -> Play:
    """The frames are right, and bring about these events and no others. Then we close."""

    async def play(bout: Bout) -> str:
        await bout.send(*frames, chop=chop)
        await bout.hear(len(by))
        await bout.send_close(close_payload(1000))
        await bout.hear_out()
        return ok(when=bout.received == list(by))

    return play


def echoed(kind: str, make: Callable[[], bytes], *, fragment: int = 0, chop: int | None = None) -> Play:
    """A large message comes back. It is made when it is needed, and not kept."""

    async def play(bout: Bout) -> str:
        payload = make()
        await bout.send_raw(fragments(kind, payload, fragment), chop=chop)
        await bout.hear(1)
        await bout.send_close(close_payload(1000))
        await bout.hear_out()
        return ok(when=bout.received == [Event(kind, payload)])

    return play


def echoed_in_turn(messages: Callable[[], Iterator[Event]], fragment: int = 0) -> Play:
    """Message after message comes back, each before the next is sent."""

    async def play(bout: Bout) -> str:
        for message in messages():
            await bout.send_message(message, fragment)
            await bout.hear(1)
            if bout.received != [message]:
                raise FoulError("the echo is not what was sent")
            bout.received.clear()
        await bout.send_close(close_payload(1000))
        await bout.hear_out()
        return ok(when=not bout.received)

    return play


def refused(*frames: Frame, after: tuple[Event, ...] = (), chop: int | None = None) -> Play:
    """The client is to end the connection because of the frames, after it has answered what was right before."""

    async def play(bout: Bout) -> str:
        await bout.send(*frames, chop=chop)
        await bout.hear_out()
        if bout.received == list(after):
            return "OK"
        return "NON-STRICT" if not bout.received else "FAILED"

    return play


def refused_early(*steps: tuple[bytes, ...]) -> Play:
    """The second step makes the message invalid, which the client is to notice there, or at its end."""
    first, second, rest = (b"".join(step) for step in steps)

    async def play(bout: Bout) -> str:
        await bout.send_raw(first)
        if await bout.fails_fast():
            return "FAILED"
        await bout.send_raw(second)
        is_early = await bout.fails_fast()
        await bout.send_raw(rest)
        await bout.hear_out()
        return "FAILED" if bout.received else "OK" if is_early else "NON-STRICT"

    return play


def closed(payload: bytes, *then: Frame, before: tuple[Frame, ...] = ()) -> Play:
    """We close. The client is to say nothing but its Close frame."""

    async def play(bout: Bout) -> str:
        await bout.send(*before)
        await bout.send_close(payload, *then)
        await bout.hear_out()
        return ok(when=not bout.received)

    return play


async def pinged_within_a_message(bout: Bout, chop: int | None) -> str:
    """The first ping is answered before the message has ended."""
    await bout.send(Frame(TEXT, b"one ", fin=False), Frame(MORE, b"two ", fin=False), Frame(PING, b"1"), chop=chop)
    await bout.hear(1)
    await bout.send(Frame(MORE, b"three ", fin=False), Frame(MORE, b"four ", fin=False), chop=chop)
    await bout.send(Frame(PING, b"2"), Frame(MORE, b"five"), chop=chop)
    await bout.hear(3)
    await bout.send_close(close_payload(1000))
    await bout.hear_out()
    return ok(when=bout.received == [pong(b"1"), pong(b"2"), text(b"one two three four five")])


# What cases are made of


def right(name: str, *frames: Frame, by: tuple[Event, ...], chop: int | None = None) -> Case:
    return Case(name, answered(*frames, by=by, chop=chop))


def wrong(name: str, *frames: Frame, after: tuple[Event, ...] = (), chop: int | None = None, code: int = 1002) -> Case:
    return violation(name, refused(*frames, after=after, chop=chop), code)


def violation(name: str, play: Play, code: int = 1002) -> Case:
    return Case(name, play, closed_by_us=False, codes=frozenset({code}), must_be_clean=False)


def numbered(name: str, cases: list[Callable[[str], Case]]) -> Iterator[Case]:
    for number, case in enumerate(cases, 1):
        yield case(f"{name}.{number}")


def framing() -> Iterator[Case]:
    """1: lengths."""
    sizes: list[tuple[int, int | None]] = [(size, None) for size in (0, 125, 126, 127, 128, 65535, 65536)]
    for number, (size, chop) in enumerate([*sizes, (65536, 997)], 1):
        for branch, kind, octet in ((1, "text", b"*"), (2, "binary", b"\xfe")):
            yield Case(f"1.{branch}.{number}", echoed(kind, functools.partial(octet.__mul__, size), chop=chop))


def pings() -> Iterator[Case]:
    """2: pings and pongs."""
    odd = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    longest = b"\xfe" * 125
    ten = [b"payload %d" % number for number in range(10)]
    pongs = tuple(map(pong, ten))
    yield right("2.1", Frame(PING), by=(pong(b""),))
    yield right("2.2", Frame(PING, b"Hello, world!"), by=(pong(b"Hello, world!"),))
    yield right("2.3", Frame(PING, odd), by=(pong(odd),))
    yield right("2.4", Frame(PING, longest), by=(pong(longest),))
    yield wrong("2.5", Frame(PING, b"\xfe" * 126))
    yield right("2.6", Frame(PING, longest), by=(pong(longest),), chop=1)
    yield right("2.7", Frame(PONG), by=())
    yield right("2.8", Frame(PONG, b"nobody asked"), by=())
    yield right("2.9", Frame(PONG, b"nobody asked"), Frame(PING, b"but now"), by=(pong(b"but now"),))
    yield right("2.10", *(Frame(PING, payload) for payload in ten), by=pongs)
    yield right("2.11", *(Frame(PING, payload) for payload in ten), by=pongs, chop=1)


def reserved() -> Iterator[Case]:
    """3 and 4: reserved bits and opcodes."""
    hello, echo = Frame(TEXT, b"Hello, world!"), (text(b"Hello, world!"),)
    whole = len(hello.encode())
    yield wrong("3.1", Frame(TEXT, b"Hello, world!", rsv=1))
    for number, chop in ((2, None), (3, whole), (4, 1)):
        bad = Frame(TEXT, b"Hello, world!", rsv=number)
        yield wrong(f"3.{number}", hello, bad, Frame(PING), after=echo, chop=chop)
    yield wrong("3.5", Frame(BINARY, b"\x00\xff\xfe\xfd", rsv=5))
    yield wrong("3.6", Frame(PING, b"Hello, world!", rsv=6))
    yield wrong("3.7", Frame(CLOSE, close_payload(1000), rsv=7))
    for branch, opcode in ((1, 3), (2, 11)):
        yield wrong(f"4.{branch}.1", Frame(opcode))
        yield wrong(f"4.{branch}.2", Frame(opcode + 1, b"reserved"))
        yield wrong(f"4.{branch}.3", hello, Frame(opcode + 2), Frame(PING), after=echo)
        yield wrong(f"4.{branch}.4", hello, Frame(opcode + 3, b"reserved"), Frame(PING), after=echo)
        yield wrong(f"4.{branch}.5", hello, Frame(opcode + 4, b"reserved"), Frame(PING), after=echo, chop=1)


def fragmentation() -> Iterator[Case]:
    """5: fragments."""
    one, two = Frame(TEXT, b"fragment1", fin=False), Frame(MORE, b"fragment2")
    both = text(b"fragment1fragment2")
    stray, hello = Frame(MORE, b"nothing to continue"), Frame(TEXT, b"Hello, world!")
    loose = Frame(MORE, b"nothing to continue", fin=False)
    ping = Frame(PING, b"ping")
    chops = (None, len(one.encode()), 1)
    yield wrong("5.1", Frame(PING, b"frag", fin=False), Frame(MORE, b"ment"))
    yield wrong("5.2", Frame(PONG, b"frag", fin=False), Frame(MORE, b"ment"))
    for number, chop in enumerate(chops):
        yield right(f"5.{3 + number}", one, two, by=(both,), chop=chop)
        yield right(f"5.{6 + number}", one, ping, two, by=(pong(b"ping"), both), chop=chop)
        yield wrong(f"5.{9 + number}", stray, hello, chop=chop)
        yield wrong(f"5.{12 + number}", loose, hello, chop=chop)
    yield wrong("5.15", one, two, loose, hello, after=(both,))
    yield wrong("5.16", *(Frame(MORE, b"1", fin=False), Frame(TEXT, b"2", fin=False), Frame(MORE, b"3")) * 2)
    yield wrong("5.17", *(Frame(MORE, b"1"), Frame(TEXT, b"2", fin=False), Frame(MORE, b"3")) * 2)
    yield wrong("5.18", one, Frame(TEXT, b"fragment2"))
    yield Case("5.19", functools.partial(pinged_within_a_message, chop=None))
    yield Case("5.20", functools.partial(pinged_within_a_message, chop=1))


GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE = b"\xed\xa0\x80"
TOO_FAR = b"\xf4\x90\x80\x80"
EDITED = b"edited"


def in_octets(payload: bytes) -> list[Frame]:
    last = len(payload) - 1
    return [Frame(MORE if number else TEXT, bytes([octet]), fin=number == last) for number, octet in enumerate(payload)]


def utf_8() -> Iterator[Case]:
    """6: UTF-8, right and wrong, whole and in pieces."""
    nothing = (text(b""),)
    yield right("6.1.1", Frame(TEXT), by=nothing)
    yield right("6.1.2", Frame(TEXT, fin=False), Frame(MORE, fin=False), Frame(MORE), by=nothing)
    middle = Frame(MORE, b"middle frame payload", fin=False)
    yield right("6.1.3", Frame(TEXT, fin=False), middle, Frame(MORE), by=(text(middle.payload),))
    start = Frame(TEXT, GREETING[:12], fin=False)
    yield right("6.2.1", Frame(TEXT, GREETING), by=(text(GREETING),))
    yield right("6.2.2", start, Frame(MORE, GREETING[12:]), by=(text(GREETING),))
    yield right("6.2.3", *in_octets(GREETING), by=(text(GREETING),))
    yield right("6.2.4", *in_octets(GREEK), by=(text(GREEK),))
    yield wrong("6.3.1", Frame(TEXT, GREEK + SURROGATE + EDITED), code=1007)
    yield wrong("6.3.2", *in_octets(GREEK + SURROGATE + EDITED), code=1007)
    for number, pieces in enumerate([(GREEK, TOO_FAR, EDITED), (GREEK + b"\xf4", b"\x90", b"\x80\x80" + EDITED)], 1):
        one, two, three = pieces
        frames = Frame(TEXT, one, fin=False), Frame(MORE, two, fin=False), Frame(MORE, three)
        in_frames = refused_early(*((frame.encode(),) for frame in frames))
        head = Frame(TEXT, GREEK + TOO_FAR + EDITED).encode()[:2]
        yield violation(f"6.4.{number}", in_frames, 1007)
        yield violation(f"6.4.{number + 2}", refused_early((head, one), (two,), (three,)), 1007)
    for name, vectors, is_valid in utf_8_vectors():
        for number, (payload, valid) in enumerate(_each(vectors, is_valid), 1):
            if valid:
                yield right(f"{name}.{number}", Frame(TEXT, payload), by=(text(payload),))
            else:
                yield wrong(f"{name}.{number}", Frame(TEXT, payload), code=1007)


def _each(vectors: list[bytes], is_valid: bool | tuple[int, ...]) -> Iterator[tuple[bytes, bool]]:
    """Each vector, and whether it is valid: all, none, or those with these numbers."""
    for number, payload in enumerate(vectors, 1):
        yield payload, is_valid if isinstance(is_valid, bool) else number in is_valid


def utf_8_vectors() -> Iterator[tuple[str, list[bytes], bool | tuple[int, ...]]]:
    """Markus Kuhn's stress test for decoders."""
    bits = bytes.fromhex
    incomplete = ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"]
    starts = [(0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE)]
    planes = [plane << 16 | end for plane in range(17) for end in (0xFFFE, 0xFFFF)]
    yield "6.5", [b"hello" + char.encode() + b"world" for char in "$¢€𤭢"] + [GREEK], True
    yield "6.6", [GREEK[:end] for end in range(1, len(GREEK) + 1)], (2, 5, 7, 9, 11)
    yield "6.7", [bits(text) for text in ("00", "c280", "e0a080", "f0908080")], True
    yield "6.8", [bits(text) for text in ("f888808080", "fc8480808080")], False
    yield "6.9", [bits(text) for text in ("7f", "dfbf", "efbfbf", "f48fbfbf")], True
    yield "6.10", [bits(text) for text in ("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf")], False
    yield "6.11", [bits(text) for text in ("ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080")], (1, 2, 3, 4)
    loose = [bits("80bf80bf80bf")[:size] for size in range(2, 7)]
    yield "6.12", [b"\x80", b"\xbf", *loose, bytes(range(0x80, 0xC0))], False
    yield "6.13", [b"".join(bytes([octet, 0x20]) for octet in range(*ends)) for ends in starts], False
    yield "6.14", [bits(text) for text in incomplete], False
    yield "6.15", [bits("".join(incomplete))], False
    yield "6.16", [bits(text) for text in ("fe", "ff", "fefeffff")], False
    yield "6.17", [bits(text) for text in ("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af")], False
    yield "6.18", [bits(text) for text in ("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf")], False
    yield "6.19", [bits(text) for text in ("c080", "e08080", "f0808080", "f880808080", "fc8080808080")], False
    high, low = ("eda080", "edadbf", "edae80", "edafbf"), ("edb080", "edbe80", "edbfbf")
    yield "6.20", [bits(text) for text in (*high, *low)], False
    yield "6.21", [bits(first + second) for first in high for second in ("edb080", "edbfbf")], False
    yield "6.22", [chr(point).encode() for point in planes], True
    yield "6.23", [chr(point).encode() for point in range(0xFFF9, 0xFFFE)] + [b"\xef\xbb\xbf", b"\xef\xbb\xbfBOM"], True


def closing() -> Iterator[Case]:
    """7: the closing handshake."""
    normal = close_payload(1000)
    hello, ping = Frame(TEXT, b"Hello World!"), Frame(PING, b"ping")
    begun, rest = Frame(TEXT, b"fragment1", fin=False), Frame(MORE, b"fragment2")
    yield right("7.1.1", hello, by=(text(b"Hello World!"),))
    yield Case("7.1.2", closed(normal, Frame(CLOSE)))
    yield Case("7.1.3", closed(normal, ping))
    yield Case("7.1.4", closed(normal, hello))
    yield Case("7.1.5", closed(normal, rest, before=(begun,)))
    large = Frame(TEXT, b"BAsd7&jh23" * (256 * KIB // 10))
    yield Case("7.1.6", closed(normal, ping, before=(large, hello)), is_informational=True)
    yield Case("7.3.1", closed(b""))
    yield broken_close("7.3.2", b"a", {1002})
    yield Case("7.3.3", closed(normal))
    yield Case("7.3.4", closed(close_payload(1000, "Hello World!")))
    yield Case("7.3.5", closed(close_payload(1000, "*" * 123)))
    yield broken_close("7.3.6", close_payload(1000, "*" * 124), {1002})
    yield broken_close("7.5.1", close_payload(1000, GREEK + SURROGATE + EDITED), {1002, 1007})
    for number, code in enumerate((*range(1000, 1004), *range(1007, 1012), 3000, 3999, 4000, 4999), 1):
        yield Case(f"7.7.{number}", closed(close_payload(code)), codes=frozenset({code, 1000}))
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield broken_close(f"7.9.{number}", close_payload(code), {1002})
    for number, code in enumerate((5000, 65535), 1):
        yield Case(f"7.13.{number}", closed(close_payload(code)), is_informational=True)


def broken_close(name: str, payload: bytes, codes: set[int]) -> Case:
    return Case(name, closed(payload), codes=frozenset(codes), must_be_clean=False)


def limits() -> Iterator[Case]:
    """9 and 10: large messages, many messages, and messages in very many pieces."""
    kinds: list[tuple[int, str, bytes]] = [(0, "text", b"BAsd7&jh23"), (1, "binary", b"\x00\xfe\x07\xff")]
    for offset, kind, pattern in kinds:

        def payload(size: int, pattern: bytes = pattern) -> bytes:
            return (pattern * (size // len(pattern) + 1))[:size]

        for number, size in enumerate((64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB), 1):
            yield Case(f"9.{1 + offset}.{number}", echoed(kind, functools.partial(payload, min(size, LARGEST))))
        sizes = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
        for number, size in enumerate(sizes, 1):
            make = functools.partial(payload, LARGEST_IN_FRAGMENTS)
            yield Case(f"9.{3 + offset}.{number}", echoed(kind, make, fragment=size))
        for number, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            make = functools.partial(payload, LARGEST_IN_CHOPS)
            yield Case(f"9.{5 + offset}.{number}", echoed(kind, make, chop=size))
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            message = Event(kind, payload(size))
            many = functools.partial(iter, [message] * MESSAGES)
            yield Case(f"9.{7 + offset}.{number}", echoed_in_turn(many))
    yield Case("10.1.1", echoed("text", functools.partial(b"*".__mul__, 65536), fragment=1300))


# Compression


@functools.cache
def sample(kind: str) -> bytes | str:
    """200,000 octets or characters to compress, of the kinds that the suite has."""
    chance = random.Random(kind)
    count = 200_000
    match kind:
        case "json":
            entries = ("{" + json_fields(chance) + "},\n" for _ in range(count // 40))
            return "".join(entries)[:count]
        case "bitmap":
            return bytes((at // 512 + at % 512) // 4 + chance.randrange(3) & 0xFF for at in range(count))
        case "prose":
            words = ["Habe", "nun", "ach", "Philosophie", "Juristerei", "und", "Medizin", "leider", "auch", "Theologie"]
            return " ".join(chance.choice(words) for _ in range(count // 4)).encode()[:count]
        case "html":
            return "".join(f'<p class="p{chance.randrange(9)}">{MIXED}</p>\n' for _ in range(count // 40))[:count]
        case _:
            return chance.randbytes(count)


def json_fields(chance: random.Random) -> str:
    name = MIXED[chance.randrange(20) :]
    return f'"id": {chance.randrange(10**6)}, "name": "{name}", "at": [{chance.random():f}, {chance.random():f}]'


def slices(kind: str, size: int, count: int) -> Iterator[Event]:
    """So many messages of so many octets or characters, taken from a sample one after the other, round and round."""
    data = sample(kind)
    for number in range(count):
        at = number * size % (len(data) - size)
        piece = data[at : at + size]
        yield text(piece.encode()) if isinstance(piece, str) else Event("binary", piece)


PACKED_SIZES = (
    *((size, 0) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)),
    *((size, 256) for size in (8192, 16384, 32768, 65536, 131072)),
    *((131072, size) for size in (1024, 4096, 32768)),
)


def compression() -> Iterator[Case]:
    """12 and 13: permessage-deflate with several kinds of data, and several parameters."""
    anything = Packing()
    for number, kind in enumerate(("json", "bitmap", "prose", "html", "noise"), 1):
        yield from packed(f"12.{number}", kind, anything)
    fresh, fresh_9 = Packing(client_fresh=True), Packing(client_fresh=True, client_bits=9)
    variants = (
        (anything,),
        (fresh,),
        (Packing(client_bits=9),),
        (Packing(client_bits=15),),
        (fresh_9,),
        (Packing(client_fresh=True, client_bits=15),),
        (fresh_9, fresh, anything),
    )
    for number, packings in enumerate(variants, 1):
        yield from packed(f"13.{number}", "json", *packings)


def packed(name: str, kind: str, *packings: Packing) -> Iterator[Case]:
    for number, (size, fragment) in enumerate(PACKED_SIZES, 1):
        messages = functools.partial(slices, kind, size, PACKED_MESSAGES)
        yield Case(f"{name}.{number}", echoed_in_turn(messages, fragment), packings=packings, messages=messages)


def beyond() -> Iterator[Case]:
    """What the suite does not ask: the server's parameters, and the many forms of a packed message."""
    for number, packing in enumerate(
        (
            Packing(server_fresh=True),
            Packing(server_bits=9),
            Packing(server_bits=9, server_fresh=True, client_bits=10, client_fresh=True),
            *(Packing(client_bits=bits) for bits in range(10, 15)),
        ),
        1,
    ):
        messages = functools.partial(slices, "html", 50_000, PACKED_MESSAGES)
        yield Case(f"X.1.{number}", echoed_in_turn(messages, 4096), packings=(packing,))
    yield from numbered("X.2", [form(*frames, by=by) for frames, by in forms()])
    for number, code in enumerate((1012, 1013, 1014), 1):
        yield Case(f"X.3.{number}", closed(close_payload(code)), codes=frozenset({code, 1000}))
    for number, code in enumerate((1, 1015, 1017, 1999, 5000, 65535), 1):
        yield broken_close(f"X.4.{number}", close_payload(code), {1002})
    for number, frame in enumerate((Frame(TEXT, b"x", mask=b"\x00\x00\x00\x00"), Frame(PING, mask=b"mask")), 1):
        yield wrong(f"X.5.{number}", frame)


def form(*frames: Frame, by: bytes) -> Callable[[str], Case]:
    return lambda name: Case(name, answered(*frames, by=(text(by),)), packings=(Packing(),))


def forms() -> Iterator[tuple[tuple[Frame, ...], bytes]]:
    """RFC 7692 section 7.2.3: what a packed message may look like."""
    hello, pack = b"Hello", zlib.compressobj(wbits=-15)
    final = pack.compress(hello) + pack.flush(zlib.Z_FINISH)
    stored = b"\x00\x05\x00\xfa\xff" + hello + b"\x00"
    packed_hello = deflate(hello)
    yield (Frame(TEXT, hello),), hello
    yield (Frame(TEXT, packed_hello, rsv=RSV1),), hello
    yield (Frame(TEXT, b"\x00", rsv=RSV1),), b""
    yield (Frame(TEXT, stored, rsv=RSV1),), hello
    yield (Frame(TEXT, final + b"\x00", rsv=RSV1),), hello
    yield (Frame(TEXT, final + packed_hello, rsv=RSV1),), hello + hello
    yield (Frame(TEXT, bytes.fromhex("f248050000 00ffffcac9c90700"), rsv=RSV1),), hello
    yield (Frame(TEXT, rsv=RSV1, fin=False), Frame(MORE, packed_hello, fin=False), Frame(MORE)), hello


CASES = (
    *framing(),
    *pings(),
    *reserved(),
    *fragmentation(),
    *utf_8(),
    *closing(),
    *limits(),
    *compression(),
    *beyond(),
)
