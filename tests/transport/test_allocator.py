"""Large messages do not fault their memory in again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = 100

#: Receives messages of 1 MiB in reads of a socket's size, and prints how often memory was faulted in for one.
RECEIVE = f"""
import resource
from rxnodes.testing import Frame, Opcode
from rxnodes.transport.allocator import keep_freed_memory
from rxnodes.transport.frames import FrameHandler, FrameParser

class Handler(FrameHandler):
    def on_messages(self, messages, size):
        assert size == 2**20

def receive(rounds):
    for _ in range(rounds):
        for start in range(0, len(frame), 2**18):
            parser.feed(bytes(frame[start : start + 2**18]))

if KEEP:
    keep_freed_memory()
frame = memoryview(Frame(Opcode.BINARY, bytes(2**20)).encode())
parser = FrameParser(Handler(), max_size=2**20, deflate=None)
receive(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
receive({ROUNDS})
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / {ROUNDS})
"""


def faults_for_each_message(*, keep):
    code = RECEIVE.replace("KEEP", str(keep))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have ways of their own")
def test_large_messages_use_memory_again():
    pages = 2**20 / 4096
    if faults_for_each_message(keep=False) < pages / 4:
        pytest.skip("this glibc keeps it by itself")
    assert faults_for_each_message(keep=True) < pages / 16
