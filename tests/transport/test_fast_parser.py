"""aiohttp's parser: what is expected of it, and what becomes of it where it is another."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import aiohttp
import pytest
from aiohttp._websocket import helpers, reader
from aiohttp._websocket.reader import WebSocketReader

import rxnodes.transport
from rxnodes.transport import fast_parser
from rxnodes.transport.frames import choose_parser
from rxnodes.transport.plain_parser import PlainParser, mask

READER, HELPERS, OURS = reader.__name__, helpers.__name__, fast_parser.__name__


def test_this_aiohttp_is_known(caplog):
    fast_parser.check()
    assert choose_parser() == (fast_parser.FastParser, helpers.websocket_mask)
    assert caplog.records == []


class Final(WebSocketReader):
    def __init_subclass__(cls):
        raise TypeError("this class is final")


class OtherArguments(WebSocketReader):
    def __init__(self, queue, max_msg_size, compress):
        super().__init__(queue, max_msg_size, compress, False)


class MoreArgumentsForFrames(WebSocketReader):
    def feed_data(self, data):
        self._handle_frame(True, 1, data, 0, 0)
        return False, b""


class OwnFrames(WebSocketReader):
    """Handles frames by itself."""

    def feed_data(self, data):
        return False, b""


class OneResult(WebSocketReader):
    def feed_data(self, data):
        return super().feed_data(data)[0]


class OtherOpcodes(WebSocketReader):
    def feed_data(self, data):
        return super().feed_data(data.replace(b"\x81", b"\x82"))


class OtherLimit(WebSocketReader):
    def __init__(self, queue, max_msg_size, compress, decode_text):
        super().__init__(queue, max_msg_size - 1, compress, decode_text)


class NoLimit(WebSocketReader):
    def __init__(self, queue, max_msg_size, compress, decode_text):
        super().__init__(queue, 0, compress, decode_text)


class MaskedAsBytes(WebSocketReader):
    def feed_data(self, data):
        return super().feed_data(data.replace(b"\x82\x84\0\0\0\0", b"\x82\x04"))


def no_reader(patch):
    patch.setitem(sys.modules, READER, None)


def no_helpers(patch):
    patch.setitem(sys.modules, HELPERS, None)


def another(name: str, **contents):
    def put(patch):
        module = ModuleType(name)
        vars(module).update(contents)
        patch.setitem(sys.modules, name, module)

    return put


def another_reader(cls):
    return another(READER, WebSocketReader=cls, WebSocketDataQueue=reader.WebSocketDataQueue)


def another_mask(function):
    return another(HELPERS, websocket_mask=function)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(no_reader, "ModuleNotFoundError", id="no reader"),
        pytest.param(no_helpers, "ModuleNotFoundError", id="no helpers"),
        pytest.param(another(READER, WebSocketDataQueue=reader.WebSocketDataQueue), "ImportError", id="no class"),
        pytest.param(another(READER, WebSocketReader=WebSocketReader), "ImportError", id="no queue"),
        pytest.param(another_reader(SimpleNamespace()), "TypeError", id="no class, but an object"),
        pytest.param(another_reader(Final), "this class is final", id="a final class"),
        pytest.param(another_reader(OtherArguments), "TypeError", id="other arguments"),
        pytest.param(another_reader(MoreArgumentsForFrames), "TypeError", id="more arguments for frames"),
        pytest.param(another_reader(OwnFrames), "the parser makes [] of samples", id="frames not handed on"),
        pytest.param(another_reader(OneResult), "TypeError", id="one result instead of two"),
        pytest.param(another_reader(OtherOpcodes), "the parser makes [b'a'", id="other opcodes"),
        pytest.param(another_reader(OtherLimit), "(1000, ''), 1009", id="another limit"),
        pytest.param(another_reader(NoLimit), "b'full', 1002", id="no limit"),
        pytest.param(another_reader(MaskedAsBytes), "b'full', 1009, b'full'", id="masked frames unnoticed"),
        pytest.param(another_mask(lambda _key, _payload: None), "the mask makes", id="a mask that does nothing"),
        pytest.param(another_mask(lambda _payload: None), "TypeError", id="a mask with other arguments"),
        pytest.param(another(READER.rpartition(".")[0]), "ModuleNotFoundError", id="no package"),
    ],
)
def test_another_parser_or_mask_is_not_used_and_the_log_says_so(change, said, monkeypatch, caplog):
    # Imported anew, as at the start of a program, and put back afterwards.
    monkeypatch.delitem(sys.modules, OURS)
    monkeypatch.delattr(rxnodes.transport, "fast_parser")
    if said == "ModuleNotFoundError":
        monkeypatch.delitem(sys.modules, READER)
    change(monkeypatch)
    assert choose_parser() == (PlainParser, mask)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("rxnodes.transport", logging.WARNING)
    assert f"aiohttp {aiohttp.__version__} " in record.getMessage()
    assert said in record.getMessage()
    assert record.getMessage().endswith("which is slower")
