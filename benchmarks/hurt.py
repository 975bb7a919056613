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
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    _say(f"seed {seed}, {servers} of NATS")
    with tempfile.TemporaryDirectory() if options.keep is None else _kept(options.keep, seed) as folder:
        fleet = Hurt(
            Path(folder),
            seed,
            servers=servers,
            workers=options.workers,
            connections=options.connections,
            lease=options.lease,
            binary=options.nats,
            say=_say,
        )
        async with fleet:
            account = await fleet.run(seconds)
    _say(str(account))
    return not account.problems


class _kept:  # noqa: N801 - a context manager
    """A folder that stays."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder / str(seed)

    def __enter__(self) -> str:
        self._folder.mkdir(parents=True)
        return str(self._folder)

    def __exit__(self, *_: object) -> None: ...


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
