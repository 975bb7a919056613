"""`python -m benchmarks --only hurt`: a fleet of real processes on real NATS servers, hurt at random, and an account.

Workers are killed, stopped and cut off, servers are killed and stand still, in any order from a printed seed, while
connections are started and stopped. Every session must begin once and end once, no two workers may act at one time, and
what is wished must be so within a lease and two seconds once all is mended. The exit status is 1 if anything is wrong.

`python -m benchmarks.hurt --help` has what can be chosen. The account is kept by `tests/fleet/hurt.py`, which a short
run in the suite shares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

TESTS = str(Path(__file__).parents[1] / "tests")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs as the command line asks, and gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hurt", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="for how long (default: 60)")
    parser.add_argument("--servers", type=int, choices=(1, 3), help="how many NATS servers (default: both in turns)")
    parser.add_argument("--workers", type=int, default=4, help="how many workers (default: 4)")
    parser.add_argument("--connections", type=int, default=20, help="how many connections (default: 20)")
    parser.add_argument("--lease", type=float, default=2.0, help="the seconds of a lease (default: 2)")
    parser.add_argument("--nats", help="another nats-server than that of the wheel")
    parser.add_argument("--keep", type=Path, help="a folder for what all of them wrote")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(arguments)
    end, is_right, number = time.monotonic() + 60 * options.minutes, True, 0
    while is_right and time.monotonic() < end:
        # Every ten minutes with fresh servers.
        seconds = min(end - time.monotonic(), 600)
        servers = options.servers or (1, 3)[number % 2]
        is_right = asyncio.run(_hurt(options, options.seed + number, servers, seconds))
        number += 1
    return 0 if is_right else 1


async def _hurt(options: argparse.Namespace, seed: int, servers: int, seconds: float) -> bool:
    sys.path.insert(0, TESTS)
    from fleet.hurt import Hurt  # noqa: PLC0415 - of the tests, which other benchmarks do not need

    say(f"seed {seed}, {servers} of NATS")
    with tempfile.TemporaryDirectory() if options.keep is None else _kept(options.keep / str(seed)) as folder:
        fleet = Hurt(
            Path(folder),
            seed,
            servers=servers,
            workers=options.workers,
            connections=options.connections,
            lease=options.lease,
            binary=options.nats,
            say=say,
        )
        async with fleet:
            account = await fleet.run(seconds)
    say(str(account))
    return not account.problems


def _kept(folder: Path) -> AbstractContextManager[str]:
    """A folder that stays."""
    folder.mkdir(parents=True)
    return contextlib.nullcontext(str(folder))


if __name__ == "__main__":
    sys.exit(main())
