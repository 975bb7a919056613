"""Runs the suite as with an aiohttp that rxnodes does not know: `python -m pytest -p unknown_aiohttp`.

While rxnodes chooses its parser, aiohttp's own is not to be found. Afterwards it is there again, for the tests that are
about it. What tests start in processes of their own knows it, too.
"""

from __future__ import annotations

import sys
from importlib import import_module

import aiohttp
import pytest

READER = "aiohttp._websocket.reader"
LINKS = "rxnodes.transport.aiohttp"

assert LINKS not in sys.modules, "the parser is chosen already"

known, sys.modules[READER] = sys.modules[READER], None
try:
    import_module(LINKS)
finally:
    sys.modules[READER] = known


def pytest_report_header():
    return f"aiohttp {aiohttp.__version__}, made unknown to rxnodes: it receives in plain Python"


def pytest_sessionfinish():
    parser = sys.modules[LINKS].FrameParser
    if parser is not sys.modules["rxnodes.transport.plain_parser"].PlainParser:
        pytest.exit(f"the suite ran with {parser}, and not in plain Python", returncode=1)
