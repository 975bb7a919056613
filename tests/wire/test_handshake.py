"""The opening handshake, by itself. tests/checklist/test_opening.py tries it on servers."""

from __future__ import annotations

import base64
import binascii

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from rxnodes.wire.handshake import Handshake, RefusedError, parse_deflate_parameters

#: RFC 6455 section 1.3 has this pair.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.fixture
def fixed_key(monkeypatch):
    monkeypatch.setattr("rxnodes.wire.handshake.os.urandom", lambda size: base64.b64decode(KEY)[:size])


def answer(*more, **changed):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT} | changed
    return CIMultiDictProxy(CIMultiDict([*headers.items(), *more]))


def test_the_request_is_the_rfcs(fixed_key):
    assert Handshake((), compression=False).headers({"X-More": "1"}) == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "X-More": "1",
    }


def test_what_is_offered():
    headers = Handshake(("chat", "superchat"), compression=True).headers({})
    assert headers["Sec-WebSocket-Protocol"] == "chat, superchat"
    assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate; client_max_window_bits"


def test_no_two_keys_are_alike():
    keys = {Handshake((), compression=False).headers({})["Sec-WebSocket-Key"] for _ in range(100)}
    assert len(keys) == 100
    assert {len(binascii.a2b_base64(key, strict_mode=True)) for key in keys} == {16}


def test_the_answer_of_the_rfc_is_accepted(fixed_key):
    agreement = Handshake((), compression=False).agree(101, answer())
    assert agreement == (None, None)


def test_what_was_chosen(fixed_key):
    handshake = Handshake(("chat", "superchat"), compression=True)
    chosen = ("Sec-WebSocket-Protocol", "superchat"), ("Sec-WebSocket-Extensions", "permessage-deflate")
    agreement = handshake.agree(101, answer(*chosen))
    assert agreement.subprotocol == "superchat"
    assert agreement.deflate is not None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"Upgrade": "websocket, h2c"}, "does not upgrade to WebSocket"),
        ({"Connection": "close"}, "does not upgrade the connection"),
        ({"Sec-WebSocket-Accept": KEY}, "not one to this handshake"),
        ({"Sec-WebSocket-Accept": ACCEPT.lower()}, "not one to this handshake"),
        ({"Sec-WebSocket-Protocol": "chat"}, "chose a subprotocol that was not offered"),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, "chose an extension, though none was offered"),
    ],
)
def test_another_answer_is_refused(fixed_key, changed, complaint):
    with pytest.raises(RefusedError, match=complaint) as refused:
        Handshake((), compression=False).agree(101, answer(**changed))
    assert refused.value.__context__ is None


def test_what_is_said_of_a_long_answer_is_short(fixed_key):
    with pytest.raises(RefusedError, match="the server chose the extension 'xxx") as refused:
        Handshake((), compression=True).agree(101, answer(("Sec-WebSocket-Extensions", "x" * 8000)))
    assert len(str(refused.value)) < 310


@pytest.mark.parametrize("status", [100, 200, 301, 401, 500])
def test_another_status_is_refused(status):
    with pytest.raises(RefusedError, match=f"answered {status} instead of 101"):
        Handshake((), compression=False).agree(status, answer())


@pytest.mark.parametrize(
    "parameter",
    [
        "client_max_window_bits",
        "client_max_window_bits=8",
        "client_max_window_bits=16",
        "client_max_window_bits=+9",
        "server_max_window_bits=7",
        "client_no_context_takeover=1",
        "unknown",
    ],
)
def test_parameters_that_cannot_be_kept_are_refused(parameter):
    with pytest.raises(ValueError, match="permessage-deflate a parameter that cannot be"):
        parse_deflate_parameters(f"permessage-deflate; {parameter}")
    parse_deflate_parameters('permessage-deflate; server_max_window_bits="8"; server_no_context_takeover')
