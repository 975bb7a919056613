"""rxnodes where it was not installed as usual: vendored, frozen, or on a system that lacks what ours has."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest
from programs import environment

import rxnodes

pytestmark = pytest.mark.slow

PACKAGE = Path(rxnodes.__file__).parent

#: A whole session over the network, by a project that was made of values.
SESSION = """
import rxnodes
from rxnodes import Project
from rxnodes.testing import WebSocketServer, echo
from rxnodes.websocket import request

with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
    chat = project.websocket("chat")
    chat.start()
    project.call(chat.wait_started)
    print(request(chat, "hello", match=lambda text: True).run())
print(chat.last_stopped.code, chat.last_stopped.was_clean, rxnodes.__version__, len(project.toolbox))
"""
PRINTED = f"hello\n1000 True {rxnodes.__version__} 7\n"


#: And what can be seen of it: a picture of its recording, its metrics, and every file of its live page.
SEEN = """
import asyncio, re, urllib.request
from rxnodes.inspector import Inspector
from rxnodes.recording import Recorder
from rxnodes.telemetry import instrument

def give(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()

async def look():
    project = Project(websocket={"chat": "ws://127.0.0.1:9/"})
    with Recorder(project) as recorder, instrument(project):
        async with Inspector(project, token=False) as inspector, project:
            page = await asyncio.to_thread(give, inspector.url)
            files = re.findall(r'(?:href|src)="([^"]+)"', page)
            files += re.findall(r'from "./([^"]+)"', await asyncio.to_thread(give, inspector.url + "page.js"))
            sizes = [len(await asyncio.to_thread(give, inspector.url + file)) for file in files]
            project.websocket("chat").start()
            await project.websocket("chat").wait_stopped()
    print(sorted(files), min(sizes) > 100, "On Stop" in recorder.recording.to_svg())

asyncio.run(look())
"""
LOOKED_AT = "['icon.svg', 'lane.js', 'page.css', 'page.js', 'words.js', 'workers.js'] True True\n"


def run(*command, cwd=None, timeout=60):
    done = subprocess.run(  # noqa: S603 - programs of our own
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_copy_without_metadata(tmp_path):
    """It was told that no plugin is named "websocket", as if that were the user's doing."""
    shutil.copytree(PACKAGE, tmp_path / "rxnodes", ignore=shutil.ignore_patterns("__pycache__"))
    hide_ours = """
import importlib.metadata as metadata, sys
everything = metadata.distributions
metadata.distributions = lambda **more: (it for it in everything(**more) if it.name != "rxnodes")
sys.path.insert(0, ".")
"""
    program = f"{hide_ours}{SESSION}print(rxnodes.__file__)"
    assert run(sys.executable, "-c", program, cwd=tmp_path) == f"{PRINTED}{tmp_path / 'rxnodes' / '__init__.py'}\n"


def test_the_metadata_has_the_version_that_the_package_tells():
    assert files("rxnodes")
    assert importlib.metadata.version("rxnodes") == rxnodes.__version__


@pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="PyInstaller is not installed")
@pytest.mark.timeout(600)  # It takes minutes where the machine is busy.
def test_a_frozen_program(tmp_path):
    (tmp_path / "session.py").write_text(SESSION + SEEN)
    run(
        *(sys.executable, "-W", "ignore", "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR"),
        *("--paths", str(PACKAGE.parent), "--exclude-module", "IPython", "session.py"),
        cwd=tmp_path,
        timeout=600,
    )
    assert run(tmp_path / "dist" / "session" / "session") == PRINTED + LOOKED_AT


# What Windows has not. asyncio's own modules are loaded before, for here they are those of a system that has it.
TAKE_AWAY = """
import asyncio, multiprocessing, os, select, signal, socket, sys

pair, family = socket.socketpair, socket.AF_UNIX
# Windows has its own way.
socket.socketpair = lambda: pair(family)

for name in ("fcntl", "termios", "resource", "pwd", "grp", "uvloop"):
    sys.modules[name] = None
for module, names in {
    os: ("fork", "register_at_fork", "getuid", "mkfifo", "killpg", "openpty", "O_NONBLOCK", "O_CLOEXEC"),
    signal: ("SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGUSR1", "SIGALRM"),
    select: ("poll", "epoll"),
    socket: ("AF_UNIX", "MSG_DONTWAIT", "TCP_INFO"),
    asyncio.SelectorEventLoop: ("add_signal_handler",),
}.items():
    for name in names:
        for owner in module.__mro__ if isinstance(module, type) else [module]:
            if name in vars(owner):
                delattr(owner, name)
"""


def test_every_module_is_imported_where_much_is_missing():
    program = f"""{TAKE_AWAY}
import importlib, pkgutil, rxnodes
modules = [it.name for it in pkgutil.walk_packages(rxnodes.__path__, "rxnodes.")]
for name in modules:
    if name != "rxnodes.__main__":
        importlib.import_module(name)
for name in rxnodes.__all__:
    getattr(rxnodes, name)
print(len(modules) > 40)
"""
    assert run(sys.executable, "-c", program) == "True\n"


def test_a_scripted_session_where_much_is_missing():
    program = f"""{TAKE_AWAY}
import asyncio
from rxnodes import Project
from rxnodes.testing import ScriptedPeer, ScriptedTransport, run_in_virtual_time

async def main():
    async with Project(websocket={{"chat": "ws://chat.test/"}}, transport=ScriptedTransport(ScriptedPeer.accept)) as it:
        it.websocket("chat").start()
        await it.websocket("chat").wait_started()
    print(it.websocket("chat").last_stopped.code)

run_in_virtual_time(main())
"""
    assert run(sys.executable, "-c", program) == "1000\n"


def test_a_session_over_the_network_where_much_is_missing():
    assert run(sys.executable, "-c", TAKE_AWAY + SESSION) == PRINTED


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("Project(websocket={'chat': {'url': 'ws://a/', 'unix_socket': '/a'}})", "this system has no unix sockets"),
        ("Recorder(Project(websocket={'chat': 'ws://a/'}), 'run.jsonl').__enter__()", "this system cannot lock a file"),
    ],
)
def test_what_cannot_be_where_much_is_missing_says_so(what, says):
    program = f"""{TAKE_AWAY}
from rxnodes import Project
from rxnodes.recording import Recorder

try:
    {what}
except Exception as error:
    print(error)
"""
    assert says in run(sys.executable, "-c", program)


@pytest.mark.timeout(300)  # It takes minutes where the machine is busy.
def test_every_file_of_tests_is_imported_or_skipped_where_much_is_missing(request):
    program = f"""{TAKE_AWAY}
import pytest

class Files:
    # Makes no tests of what a file holds, which would take longer than to import it.
    def pytest_pycollect_makeitem(self):
        return []

options = ["--collect-only", "-qq", "--numprocesses=0", "-p", "no:cacheprovider"]
sys.exit(pytest.main(options, plugins=[Files()]) is not pytest.ExitCode.NO_TESTS_COLLECTED)
"""
    assert "SKIPPED" in run(sys.executable, "-c", program, cwd=request.config.rootpath, timeout=300)


def test_a_program_is_run_where_much_is_missing():
    program = f"""{TAKE_AWAY}
import asyncio, signal
from rxnodes import run

async def main():
    signal.raise_signal(signal.SIGINT)
    await asyncio.Event().wait()

try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run(sys.executable, "-c", program) == "interrupted\n"
