from __future__ import annotations

import pytest

from rxnodes.wire.tunnel import Credentials, ProxyRefusedError, connect, socks5

WHO = Credentials(b"user", b"word")


def answered(conversation, answer):
    """Holds a conversation with a proxy whose whole answer that is. Gives what was said to it, and what was left."""
    said = b""
    received = None
    try:
        while True:
            data, size = next(conversation) if received is None else conversation.send(received)
            said += data
            received, answer = (answer[:size], answer[size:]) if len(answer) >= size else (b"", b"")
    except StopIteration:
        return said, answer


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\n\n", b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 299 Fine\r\nVia: a\r\n\r\n"],
)
def test_a_tunnel_by_connect_takes_nothing_of_what_comes_through_it(head):
    said, left = answered(connect("2001:db8::1", 443, WHO, max_size=100), head + b"\r\nhello")
    assert left == b"\r\nhello"
    assert said == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "says", "status"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", "the proxy answered 407: credentials are missing or wrong", 407),
        (b"HTTP/1.1 401 No\r\n\r\n", "the proxy answered 401: credentials are missing or wrong", 401),
        (b"HTTP/1.1 503 No\r\n\r\n", "the proxy answered 503 instead of 200", 503),
        (b"HTTP/1.1 101 Upgrade\r\n\r\n", "the proxy answered 101 instead of 200", 101),
        (b"\x05\x00\r\n\r\n", "is not HTTP", None),
        (b"HTTP/1.1 200 OK\r\nVia: " + b"a" * 100, "longer than max_header_size (100 bytes)", None),
        (b"HTTP/1.1 200", "ended the connection", None),
    ],
)
def test_no_tunnel_by_connect(answer, says, status):
    with pytest.raises(ProxyRefusedError) as caught:
        answered(connect("server.test", 80, None, max_size=100), answer)
    assert says in str(caught.value)
    assert (caught.value.answer and caught.value.answer.status) == status
    assert not caught.value.is_final, "the settings decide"


@pytest.mark.parametrize("bound", [b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x05hello" + bytes(2)])
@pytest.mark.parametrize(
    ("who", "introduced"),
    [(None, b"\x05\x01\x00"), (WHO, b"\x05\x02\x00\x02" + b"\x01\x04user\x04word")],
)
@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("server.test", b"\x03\x0bserver.test"),
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("::1", b"\x04" + bytes(15) + b"\x01"),
    ],
)
def test_a_tunnel_by_socks5_takes_nothing_of_what_comes_through_it(host, named, who, introduced, bound):
    chosen = b"\x05\x00" if who is None else b"\x05\x02\x01\x00"
    said, left = answered(socks5(host, 443, who), chosen + b"\x05\x00\x00" + bound + b"hello")
    assert left == b"hello"
    assert said == introduced + b"\x05\x01\x00" + named + b"\x01\xbb"


@pytest.mark.parametrize(
    ("who", "answer", "says", "is_final"),
    [
        (None, b"\x05\xff", "credentials are missing", True),
        (None, b"\x05\x02", "credentials are missing", True),
        (WHO, b"\x05\x02\x01\x01", "the credentials are wrong", True),
        (WHO, b"\x05\x02", "when it was given the credentials", False),
        (None, b"HTTP/1.1 400", "does not speak SOCKS5", False),
        (None, b"\x05\x00HTTP", "does not speak SOCKS5", False),
        (None, b"\x05\x00\x05\x02\x00\x01", "not allowed by its rules", True),
        (None, b"\x05\x00\x05\x05\x00\x01", "connection refused", False),
        (None, b"\x05\x00\x05\x63\x00\x01", "reply 99", False),
        (None, b"\x05\x00\x05\x00\x00\x03\x05", "ended the connection", False),
        (None, b"", "ended the connection", False),
    ],
)
def test_no_tunnel_by_socks5(who, answer, says, is_final):
    with pytest.raises(ProxyRefusedError, match=says) as caught:
        answered(socks5("server.test", 80, who), answer)
    assert caught.value.is_final == is_final
