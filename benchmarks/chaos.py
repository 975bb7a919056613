"""`python -m benchmarks.chaos`: thousands of sessions in which both sides do anything at any moment, and an account.

Both sides send, ping, close, reset, half-close and vanish, plain and over TLS 1.2 and 1.3, on asyncio and on uvloop,
with consumers that read, pause, or block the loop. What the client's system had when the peer left must have been
delivered, once and in order, with the peer's Close frame; what becomes of what the client sent must add up; and nothing
may be left behind. Each session is decided by the seed and its number: `--only` plays one again, over and over. All is
on 127.0.0.1. The exit status is 1 if anything is wrong.

The account is kept by `tests/chaos_accounts.py`, which a short run in the suite shares.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import say

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chaos_accounts import CHUNK, Arena, Plan, Result, loop_of

#: How many faults are described.
MOST_SHOWN = 50


def main() -> int:
    """Runs as the command line asks, and gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=10_000, help="how many (default: 10,000)")
    parser.add_argument("--seconds", type=float, default=1800, help="begin no more sessions after so long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="play this session alone, so many times as --sessions"
    )
    options = parser.parse_args()
    say(f"seed {options.seed}")
    began = time.monotonic()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(Path(folder))
        if options.only is not None:
            say(str(Plan.make(options.seed, options.only)))
        for first in range(0, options.sessions, CHUNK):
            if time.monotonic() - began > options.seconds:
                say(f"the time is over after {first} sessions")
                break
            numbers = list(range(first, min(first + CHUNK, options.sessions)))
            if options.only is not None:
                numbers = [options.only] * len(numbers)
            for result in arena.play(options.seed, numbers, loop_of(numbers[0])):
                results.append(result)
                if result.faults and sum(bool(one.faults) for one in results) <= MOST_SHOWN:
                    say(str(result))
    return report(results, time.monotonic() - began)


def report(results: list[Result], took: float) -> int:
    """Says what came of it all. Returns the exit status."""
    faulty = sum(bool(result.faults) for result in results)
    exact = sum(result.is_exact for result in results)
    say(f"{len(results)} sessions in {took:.0f} s, {faulty} of them wrong")
    say(f"of {exact} it was known to the last message what must have come, of the others within bounds:")
    for (kind, is_exact), count in Counter((result.kind, result.is_exact) for result in results).most_common():
        say(f"{count:7} {'exact ' if is_exact else 'bounds'} {kind}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
