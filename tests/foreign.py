"""Servers we did not write, each in a process of its own that can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from programs import PATIENCE, ended, environment, running

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVERS = Path(__file__).parent / "examples" / "servers"


def needs(*packages):
    """Skips where a package is not installed, and says what to do."""
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} missing: pip install -e '.[recipes]'")


class ForeignServer:
    """A server at one port of the loopback.

    Args:
        command: Starts it; `{port}` in a word is its port.
        cwd: Where.
    """

    def __init__(self, *command, cwd=SERVERS, env=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self._cwd = cwd
        self._env = env
        self._process = None

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        self.kill()

    async def start(self):
        """Starts it, and waits until it listens."""
        # What it says of itself is of no use here, and its warnings are its own.
        self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; it does not wait
            self._command,
            cwd=self._cwd,
            env=environment(PYTHONWARNINGS="ignore") | (self._env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE):
            while not await self._listens():
                assert self._process.poll() is None, f"{self._command[0]} ended: {self._process.returncode}"
                await asyncio.sleep(0.05)

    def kill(self):
        """Ends it as the kernel does where memory is short: it cannot say goodbye."""
        self._process.kill()
        self._process.wait()

    async def _listens(self):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False


class Recipe:
    """An example as a program, and what it prints, line by line."""

    def __init__(self, process):
        self._process = process
        self.lines = []

    async def until(self, wanted):
        """Reads on, up to a line that is so, or for which that holds."""
        holds = wanted if callable(wanted) else wanted.__eq__
        while line := (await self._process.stdout.readline()).decode():
            self.lines.append(line.rstrip("\n"))
            if holds(self.lines[-1]):
                return
        pytest.fail(f"it ended, and had printed {self.lines} and {(await self._process.stderr.read()).decode()}")

    async def interrupt(self):
        """Ctrl+C, on which it ends in order."""
        self._process.send_signal(signal.SIGINT)
        await ended(self._process)

    async def complaints(self):
        """Its end, to which it comes by itself; gives what it told of errors."""
        printed, problems = await self._process.communicate()
        assert (self._process.returncode, printed) == (0, b"")
        return problems.decode().splitlines()


@contextlib.asynccontextmanager
async def recipe(name, *arguments):
    """Runs an example."""
    command = [sys.executable, "-u", str(EXAMPLES / name), *arguments]
    # Servers start several times meanwhile.
    async with running(*command, env=environment(), patience=4 * PATIENCE) as process:
        program = Recipe(process)
        try:
            yield program
        except asyncio.CancelledError:
            # Soon a TimeoutError, which shall say how far the program came.
            print("printed so far:", *program.lines, sep="\n")
            raise


def load(name):
    """An example as a module."""
    spec = spec_from_file_location(f"recipe_{name}", EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
