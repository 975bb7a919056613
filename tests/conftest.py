"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The types of the documentation's programs are checked beside all other types: CONTRIBUTING.md. pytest ignores no file that
# is named.
collect_ignore = ["test_docs_types.py"]

# How long an example takes says something about the machine, and what else it does.
settings.register_profile("rxnodes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("rxnodes"), max_examples=20)
settings.load_profile("rxnodes")

# Without bytecode each worker rewrites the asserts of all tests in every run, and each program that a test starts compiles
# rxnodes, for seconds. Where Python is to leave none beside the sources, it goes to pytest's cache.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache/bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# A shell ignores SIGINT for what it runs in the background, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Whom the tests' certificates come from."""
    from faults import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


def pytest_configure(config):
    """In the quick tier, a fifth of the examples has to do."""
    if config.option.markexpr == "not slow":
        settings.load_profile("quick")


def pytest_xdist_auto_num_workers(config):
    """One process if only files or single tests are named: two workers take longer to start than most files last.

    Or else two for each core, because a test waits for about half of its time.
    """
    named = [argument.partition("::")[0] for argument in config.option.file_or_dir]
    is_small = bool(named) and all(name.endswith(".py") for name in named)
    return 0 if is_small else 2 * (os.cpu_count() or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keeps one case in so many of a matrix in the quick tier, and moves to the front what is to begin first."""
    counts = Counter()
    for item in items:
        mark = next((mark for mark in item.own_markers if mark.name == "slow" and "but_every" in mark.kwargs), None)
        if mark is not None:
            if counts[item.obj] % mark.kwargs["but_every"] == 0:
                item.own_markers.remove(mark)
            counts[item.obj] += 1
    # They wait, long and mostly: one process gets them all, and the others have the cores, and take over the rest of its part.
    items.sort(key=lambda item: not any(mark.kwargs.get("first") for mark in item.iter_markers("slow")))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Lets the collector pass over all that is made meanwhile, which stays anyway: looking for cycles takes a tenth then."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
