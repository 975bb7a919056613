r"""RFC 6455 and RFC 7692 without I/O: the opening handshake, frames, messages and compression.

It can be used by itself: bytes may come from anywhere, and go anywhere. The parser, the assembler, the encoder and the
masks are plain Python. In published wheels they are compiled by mypyc from the same source, and so are the modules that
send messages. `IS_COMPILED` tells which build is installed.

Example:
    Read what a server sends, however it is cut:

    >>> from rxnodes.wire.parser import FrameParser
    >>> class Handler:
    ...     def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
    ...         print(messages)
    ...     def on_close(self, code: int, reason: str) -> None:
    ...         print("closed:", code, reason)
    ...     def on_ping(self, payload: bytes) -> None: ...
    ...     def on_pong(self, payload: bytes) -> None: ...
    >>> parser = FrameParser(Handler(), max_size=1024 * 1024, deflate=None)
    >>> parser.feed(b"\x81\x05Hello\x81\x05wor")
    ['Hello']
    >>> parser.feed(b"ld\x88\x05\x03\xe8bye")
    ['world']
    closed: 1000 bye

    Write what a client sends, masked:

    >>> from rxnodes.wire.encoder import FrameEncoder
    >>> frame = FrameEncoder().close(1000, "bye")
    >>> frame[:2].hex(), len(frame)
    ('8885', 11)
"""

from __future__ import annotations

from rxnodes.wire.masking import IS_COMPILED

__all__ = ["IS_COMPILED"]
