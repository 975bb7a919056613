"""Standard input, typed on a terminal or piped. Each line is a message."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from rxnodes.cli.output import DIM, printable
from rxnodes.lifecycle.states import ConnectionState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from typing import TextIO

    from rxnodes.cli.output import Output
    from rxnodes.connection.protocols import ConnectionLike

__all__ = ["lines_of", "sending_input"]

_CHUNK: Final = 64 * 1024
_LONGEST: Final = 128 * 1024 * 1024
_ENDING: Final = {ConnectionState.CLOSING, ConnectionState.CLOSED}


@contextlib.asynccontextmanager
async def sending_input(connection: ConnectionLike, out: Output, err: Output) -> AsyncGenerator[None]:
    """Sends each line of standard input as a text message. The end of standard input does not end the block.

    On a terminal, the line that is being typed stays at the bottom, below the lines of `out` and `err`.
    """
    screens = [output for output in (err, out) if output.terminal is not None]
    with _keyboard() as keyboard:
        if keyboard is not None and screens:
            async with _typing(connection, keyboard, screens):
                yield
        elif keyboard is not None or _can_be_read():
            task = asyncio.create_task(_send_piped(connection, err))
            try:
                yield
            finally:
                task.cancel()
        else:
            yield


# Typed


@contextlib.contextmanager
def _keyboard() -> Generator[TextIO | None]:
    """Standard input, if a line can be edited there: on a terminal that can move its cursor, and has a name.

    In a container, a terminal may have no name. It is then read like a pipe.
    """
    if not _can_be_read() or not sys.stdin.isatty() or os.environ.get("TERM") == "dumb":
        yield None
    elif sys.platform == "win32":
        yield sys.stdin
    else:
        try:
            name = os.ttyname(sys.stdin.fileno())
        except OSError:
            yield None
            return
        # Opened once more, because uvloop makes the file that it reads non-blocking. Standard output and standard error
        # are often the same open file as standard input, and writing to them would fail.
        with open(name, encoding=sys.stdin.encoding) as keyboard:  # noqa: PTH123 - needs no pathlib
            yield keyboard


@contextlib.asynccontextmanager
async def _typing(connection: ConnectionLike, keyboard: TextIO, screens: list[Output]) -> AsyncGenerator[None]:
    # Its import takes long, and only typing needs it.
    from rxnodes.cli.prompt import Prompt  # noqa: PLC0415

    screen = screens[0]
    assert screen.terminal is not None

    def send(line: str) -> None:
        screen.line(printable(f"> {line}"))
        connection.send(line, codec=None)

    def say_that_it_goes_on() -> None:
        screen.line(screen.painted("end of input; Ctrl+C closes the connection", DIM))

    async with Prompt(keyboard, screen.terminal, send, say_that_it_goes_on) as prompt:
        for output in screens:
            output.before_line = prompt.make_way
        yield


# Piped


def _can_be_read() -> bool:
    """Whether standard input can be read. The system stops a background process that reads from its terminal."""
    # It is None if the process was started without it.
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        return False
    if sys.platform == "win32" or not sys.stdin.isatty():
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        # It is not the terminal that controls the process, so that reading stops nobody.
        return True


async def _send_piped(connection: ConnectionLike, err: Output) -> None:
    """Sends one line after the other, each when the one before was written to the network."""
    try:
        async for line in lines_of(sys.stdin.fileno()):
            if connection.state in _ENDING:
                return
            await connection.send(line, codec=None)
    except UnicodeDecodeError:
        err.line("rxnodes: standard input is not UTF-8; nothing more of it is sent")
    except (ValueError, OSError) as error:
        err.line(f"rxnodes: standard input cannot be read: {error}")


async def lines_of(descriptor: int) -> AsyncGenerator[str]:
    """The lines of a file, a pipe or a terminal, without their ends.

    It reads on only when all lines so far were taken, so that a large file does not fill the memory.

    Args:
        descriptor: The file's descriptor.

    Yields:
        One line after the other, also a last line without an end.

    Raises:
        UnicodeDecodeError: If a line is not UTF-8.
        ValueError: If a line is longer than 128 MiB, the default bound of the send queue.
        OSError: If it cannot be read.
    """
    parts: list[bytes] = []
    size = 0
    while chunk := await _read(descriptor):
        first, *more = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if more:
            *lines, rest = b"".join(parts), *more
            for line in lines:
                yield line.removesuffix(b"\r").decode()
            parts, size = [rest], len(rest)
        if size > _LONGEST:
            raise ValueError(f"a line is longer than {_LONGEST} bytes")
    if size:
        yield b"".join(parts).decode()


async def _read(descriptor: int) -> bytes:
    """Reads in a thread, because a loop cannot read a file, nor anything on Windows.

    The thread is a daemon. A thread of asyncio's executor would hold up the end of the program until a line is typed.
    """
    future: Future[bytes] = Future()
    # From here on it cannot be cancelled, so that the thread can always set its result.
    future.set_running_or_notify_cancel()

    def read() -> None:
        try:
            # Not through sys.stdin, whose lock the thread would hold when the interpreter ends.
            future.set_result(os.read(descriptor, _CHUNK))
        except OSError as error:
            future.set_exception(error)

    threading.Thread(target=read, name="rxnodes standard input", daemon=True).start()
    return await asyncio.wrap_future(future)
