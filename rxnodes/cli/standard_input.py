"""Standard input, each line of which is a message: typed on a terminal, or piped."""

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
    """Sends each line of standard input as a text message. Its end ends nothing.

    On a terminal, the line that is being typed stays at the bottom, below what `out` and `err` print.
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
    """Standard input, if a line can be edited there: a terminal that can move its cursor, and has a name.

    In a container, a terminal may have none. It is then read like a pipe.
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
        # Opened once more, because uvloop sets what it reads to non-blocking. Standard output and standard error often
        # are the same open file as standard input, and writing to them would fail.
        with open(name, encoding=sys.stdin.encoding) as keyboard:  # noqa: PTH123 - needs no pathlib
            yield keyboard


@contextlib.asynccontextmanager
async def _typing(connection: ConnectionLike, keyboard: TextIO, screens: list[Output]) -> AsyncGenerator[None]:
    # It takes a while to import, and only typing needs it.
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
    """Whether there is standard input. A process in the background that reads from its terminal would be stopped."""
    # It is None where the process was started without it.
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        return False
    if sys.platform == "win32" or not sys.stdin.isatty():
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        # It is not the terminal that controls the process, and then stops nobody.
        return True


async def _send_piped(connection: ConnectionLike, err: Output) -> None:
    """Sends line after line, each once the one before has left."""
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
    """The lines of a file, a pipe or a terminal, without what ends them.

    It reads on only when the lines so far were taken, so that a large file never fills the memory.

    Args:
        descriptor: The file's descriptor.

    Yields:
        One line after the other; also the last one, if nothing ends it.

    Raises:
        UnicodeDecodeError: If a line is not UTF-8.
        ValueError: If a line is longer than 128 MiB, which is what the send queue takes unless the settings say more.
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
    """Reads what there is, in a thread: on Windows, and for a file anywhere, a loop has no other way.

    The thread is a daemon. One of asyncio's own would hold up the program's end for as long as nothing is typed.
    """
    future: Future[bytes] = Future()
    # From here on a cancellation does not reach it, and the thread can set its result in any case.
    future.set_running_or_notify_cancel()

    def read() -> None:
        try:
            # Not through sys.stdin, whose lock would be taken when the interpreter ends.
            future.set_result(os.read(descriptor, _CHUNK))
        except OSError as error:
            future.set_exception(error)

    threading.Thread(target=read, name="rxnodes standard input", daemon=True).start()
    return await asyncio.wrap_future(future)
