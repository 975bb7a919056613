"""Servers we did not write, each in a process of its own that can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
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


def program(*names):
    """Where a program of the system is, whatever it is called, or what skips the test."""
    path = os.environ["PATH"] + ":/usr/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    return found, pytest.mark.skipif(found is None, reason=f"{names[0]} missing: apt-get install {names[0]}")


class ForeignServer:
    """A server at one port of the loopback.

    Args:
        command: Starts it; `{port}` in a word is its port.
        env: What it has besides in its environment.
        config: A file, and what is written into it, with its port likewise.
    """

    def __init__(self, *command, env=None, config=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self._env = env
        if config is not None:
            file, text = config
            file.write_text(text.replace("{port}", str(self.port)))
        self._process = None
        self.starts = 0

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        self.kill()

    async def start(self):
        """Starts it, and waits until it listens."""
        self.starts += 1
        # What it says of itself is of no use here, and its warnings are its own.
        self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; it does not wait
            self._command,
            cwd=SERVERS,
            env=environment(PYTHONWARNINGS="ignore") | (self._env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self._listens():
                    assert self._process.poll() is None, f"{self._command} ended: {self._process.returncode}"
                    await asyncio.sleep(0.05)
        except BaseException:
            self.kill()
            raise

    def kill(self):
        """Ends it with all that it has started. It cannot say goodbye."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    async def terminate(self):
        """Asks it to end, and waits until it has."""
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, PATIENCE)

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
