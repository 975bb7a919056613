"""The compiled wire and its source, side by side in one process: the same bytes give the same answers."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path

import parsed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed import Parsed, cuts_within, garbage, wires
from receipts import receipt

import rxnodes
from rxnodes import wire
from rxnodes.transport.aiohttp.transport import compiled_mask
from rxnodes.wire import encoder, masking, parser

pytestmark = pytest.mark.skipif(not wire.IS_COMPILED, reason="the wire that is installed is plain Python")

FOLDER = Path(wire.__file__).parent


class SourceOnly:
    """Finds the modules of the wire as source, where compiled ones lie beside it."""

    finder = FileFinder(str(FOLDER), (SourceFileLoader, [".py"]))

    def find_spec(self, name, _path=None, _target=None):
        return self.finder.find_spec(name) if name.startswith("rxnodes.wire.") else None


def from_source(*names):
    """Modules of the wire, loaded from their source; what is loaded already stays as it is."""
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("rxnodes.wire")}
    finder = SourceOnly()
    sys.meta_path.insert(0, finder)
    try:
        return [importlib.import_module(f"rxnodes.wire.{name}") for name in names]
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith("rxnodes.wire")]:
            del sys.modules[name]
        sys.modules.update(loaded)
        rxnodes.wire = wire


PURE = dict(zip(("parser", "encoder", "masking"), from_source("parser", "encoder", "masking"), strict=True))


def test_one_is_compiled_and_the_other_is_not():
    assert (masking.IS_COMPILED, PURE["masking"].IS_COMPILED) == (True, False)
    assert {Path(it.__file__).suffix for it in (parser, encoder, masking)} <= {".so", ".pyd"}
    assert {Path(it.__file__).suffix for it in PURE.values()} == {".py"}
    assert sys.modules["rxnodes.wire.parser"] is parser


def answers(raw, cuts, limit, *, compressed):
    """What each of the two parsers finds."""
    found = []
    for module in (parser, PURE["parser"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parsed, "FrameParser", module.FrameParser)
            it = Parsed(limit=limit, compressed=compressed).feed_cut(raw, cuts)
        found.append((it.outcome, it.controls, it.complaint))
    return found


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=200)
@given(raw=garbage, limit=st.sampled_from([None, 0, 10, 126, 1000]), cuts=cuts_within)
def test_both_parsers_find_the_same_in_garbage(compressed, raw, limit, cuts):
    compiled, pure = answers(raw, cuts, limit, compressed=compressed)
    assert compiled == pure


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=100)
@given(data=st.data(), limit=st.sampled_from([None, 125, 65536]))
def test_both_parsers_find_the_same_in_frames(compressed, data, limit):
    raw = data.draw(wires(compressed=compressed)).raw
    compiled, pure = answers(raw, data.draw(cuts_within), limit, compressed=compressed)
    assert compiled == pure


@settings(max_examples=200)
@given(
    key=st.binary(min_size=4, max_size=4),
    payloads=st.lists(st.one_of(st.binary(max_size=40), st.builds(bytes, st.integers(0, 2100))), max_size=5),
    is_text=st.booleans(),
)
def test_both_encoders_make_the_same_frames(key, payloads, is_text):
    messages = [receipt(payload, is_text=is_text) for payload in payloads]
    frames = []
    for module, masks in ((encoder, masking.Masks), (PURE["encoder"], PURE["masking"].Masks)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.urandom", lambda size: key * (size // 4))
            both = module.FrameEncoder(None, masks(compiled_mask()))
            frames.append([*both.messages(messages), both.ping(b"1234"), both.close(1000, "bye")])
    assert frames[0] == frames[1]
