"""The processes of a run: one server per workload, one worker per measurement. Whatever is started here ends here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.contenders import CONTENDERS
from benchmarks.job import Metrics, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.job import Job

__all__ = ["Node", "WorkerError", "measure", "on_one_cpu", "server"]

ROOT: Final = Path(__file__).parent.parent
RXJS: Final = Path(__file__).parent / "contenders" / "rxjs.mjs"
PACKAGES: Final = Path(__file__).parent / ".cache"

#: What RxJS is measured with.
NODE_PACKAGES: Final = ("rxjs@7", "ws@8")

#: No measurement takes nearly as long, in seconds.
WORKER_TIMEOUT: Final = 60.0
SERVER_TIMEOUT: Final = 5.0
INSTALL_TIMEOUT: Final = 120.0


class WorkerError(Exception):
    """A measurement failed."""


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keeps what is started meanwhile on one CPU, where the system has a say in it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def server(*, is_tls: bool = False) -> Iterator[int]:
    """A server.

    Args:
        is_tls: Whether it speaks TLS.

    Yields:
        Its port.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", *(["--tls"] if is_tls else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise WorkerError("the server did not start")
        yield int(port)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process that ends by itself when its input does, and waits for it."""
    try:
        process.communicate(timeout=SERVER_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def measure(contender: str, job: Job, compiled_python: Path | None) -> Metrics:
    """One measurement, in a fresh process.

    Args:
        contender: Who is measured.
        job: What is measured.
        compiled_python: The interpreter that has the compiled build of rxnodes.

    Raises:
        Skipped: If the contender, or what it needs, is not there.
        WorkerError: If the measurement failed.
    """
    try:
        done = subprocess.run(
            _command(contender, job, compiled_python),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WORKER_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"took longer than {WORKER_TIMEOUT:g} s") from None
    if done.returncode:
        raise WorkerError((done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1])
    result = json.loads(done.stdout)
    if "skipped" in result:
        raise Skipped(result["skipped"])
    metrics: Metrics = result["metrics"]
    return metrics


#: The compiled build is the one that is installed, though its source lies beside the benchmarks.
WORKER_OF_INSTALLED: Final = (
    "import sys, rxnodes; sys.path.append('.'); from benchmarks.worker import main; main(sys.argv[1:])"
)


def _command(contender: str, job: Job, compiled_python: Path | None) -> Sequence[str]:
    if contender == "rxjs":
        return [Node().require(), str(RXJS), str(PACKAGES), job.to_json()]
    if CONTENDERS[contender].is_compiled:
        return [str(compiled_python), "-P", "-c", WORKER_OF_INSTALLED, contender, job.to_json()]
    return [sys.executable, "-m", "benchmarks.worker", contender, job.to_json()]


class Node:
    """Node.js, and the packages that RxJS is measured with."""

    def __init__(self) -> None:
        self._program = shutil.which("node")

    def require(self) -> str:
        """The program.

        Raises:
            Skipped: If it, or one of the packages, is not there.
        """
        if self._program is None:
            raise Skipped("Node.js is not installed")
        if not self.versions():
            raise Skipped("rxjs and ws are not installed here; --with-node does it")
        return self._program

    def install(self) -> str | None:
        """Installs the packages from npm, into a folder that Git ignores. Returns what went wrong."""
        npm = shutil.which("npm")
        if self._program is None or npm is None:
            return "Node.js is not installed"
        PACKAGES.mkdir(exist_ok=True)
        (PACKAGES / ".gitignore").write_text("*\n")
        try:
            done = subprocess.run(
                [npm, "install", "--prefix", str(PACKAGES), "--no-audit", "--no-fund", *NODE_PACKAGES],
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"npm took longer than {INSTALL_TIMEOUT:g} s"
        return done.stderr.strip() or "npm failed" if done.returncode else None

    def versions(self) -> dict[str, str]:
        """The versions of the packages; empty if one is missing."""
        found: dict[str, str] = {}
        for name in ("rxjs", "ws"):
            manifest = PACKAGES / "node_modules" / name / "package.json"
            if not manifest.exists():
                return {}
            found[name] = json.loads(manifest.read_text())["version"]
        return found

    def version(self) -> str | None:
        """The version of Node.js."""
        if self._program is None:
            return None
        done = subprocess.run([self._program, "--version"], capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip().removeprefix("v") or None
