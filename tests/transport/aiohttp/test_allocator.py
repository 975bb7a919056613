"""Large messages do not fault their memory in again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROUNDS = 50

#: Holds four messages of 1 MiB at once and lets go of them, again and again, and prints how often memory was faulted in
#: for one of them.
HOLD = f"""
import resource
from rxnodes.transport.aiohttp.allocator import keep_freed_memory

def hold(rounds):
    for _ in range(rounds):
        messages = [b"x" * 2**20 for _ in range(4)]
        del messages

if KEEP:
    keep_freed_memory()
hold(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
hold({ROUNDS})
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / {ROUNDS} / 4)
"""


def faults_for_each_message(*, keep):
    code = HOLD.replace("KEEP", str(keep))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have ways of their own")
def test_large_messages_use_memory_again():
    pages = 2**20 / 4096
    if faults_for_each_message(keep=False) < pages / 4:
        pytest.skip("this glibc keeps it by itself")
    assert faults_for_each_message(keep=True) < pages / 16
