"""A forked process leaves what it inherited alone, and has projects of its own (design section 4, promises 2 and 10)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from programs import PATIENCE, environment, needs_fork

from rxnodes.connection.own_loop import hand_over_lock

pytestmark = [pytest.mark.slow, needs_fork]

PROGRAM = Path(__file__).parents[1] / "forked.py"


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", ["plain", "async"])
def test_a_child_that_leaves_and_collects_what_it_inherited(way, kind):
    """The child hung for ever. With asyncio's loop the parent hung too, because other threads could not wake it."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, PROGRAM, way, kind],
        # Warnings are no errors here: CPython warns of every fork beside a thread, from 3.12 on.
        env=environment(PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# CPython warns of every fork beside a thread, from 3.12 on.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_no_process_is_forked_while_another_thread_holds_a_lock_of_ours():
    """In the child nobody would release it."""
    is_held, may_let_go = threading.Event(), threading.Event()

    def hold():
        with hand_over_lock:
            is_held.set()
            may_let_go.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(PATIENCE)
    threading.Timer(0.05, may_let_go.set).start()
    pid = os.fork()
    if not pid:
        os._exit(0 if hand_over_lock.acquire(timeout=PATIENCE) else 1)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
