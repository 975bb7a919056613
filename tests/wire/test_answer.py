"""The head of the server's answer, from bytes alone."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from rxnodes.wire.answer import HeadReader, asked_delay, framing
from rxnodes.wire.handshake import RefusedError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def read(*pieces, max_size=1000):
    """The head in these pieces, and the bytes after it."""
    reader = HeadReader(max_size)
    rests = [reader.feed(piece) for piece in pieces]
    assert rests[:-1] == [None] * (len(pieces) - 1)
    return reader.head, rests[-1]


@pytest.mark.parametrize(
    ("data", "status", "headers"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nA: 1\r\n\r\n", 101, [("A", "1")]),
        (b"HTTP/1.0 503\r\n\r\n", 503, []),
        (b"HTTP/1.1 200 \r\n\r\n", 200, []),
        (b"HTTP/1.1\t404  Not here\nA:1\nB:\t2 \t\n\n", 404, [("A", "1"), ("B", "2")]),
        (b"HTTP/1.1 101 Mixed\r\nA: 1\nB: 2\r\n\n", 101, [("A", "1"), ("B", "2")]),
        (b"\r\n\nHTTP/1.1 101 Late\r\n\r\n", 101, []),
        (b"HTTP/1.1 101 Folded\r\nA: 1\r\n 2\r\n\t 3\r\nB: 4\r\n\r\n", 101, [("A", "1 2 3"), ("B", "4")]),
        (
            b"HTTP/1.1 101 Twice\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n",
            101,
            [("Set-Cookie", "a"), ("set-cookie", "b")],
        ),
        (b"HTTP/1.1 101 Spaced\r\nA : 1\r\nB:\r\n\r\n", 101, [("A", "1"), ("B", "")]),
        ("HTTP/1.1 101 Größe\r\nA: é\r\n\r\n".encode(), 101, [("A", "é")]),
        (b"HTTP/1.1 101 Old\r\nA: \xe9\x01\r\n\r\n", 101, [("A", "é\x01")]),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100\r\n\r\n\r\nHTTP/1.1 403 No\r\n\r\n", 403, []),
    ],
    ids=[
        "usual",
        "no phrase",
        "no phrase but a space",
        "bare LF",
        "mixed",
        "empty lines before",
        "folded",
        "twice",
        "spaces before colons",
        "UTF-8",
        "ISO-8859-1",
        "interim",
    ],
)
def test_a_head_is_read_as_it_was_meant(data, status, headers):
    head, rest = read(data + b"after")
    assert (head.status, list(head.headers.items()), rest) == (status, headers, b"after")
    one_by_one, rest = read(*(data[place : place + 1] for place in range(len(data))))
    assert (one_by_one, rest) == (head, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 1001\r\n\r\n",
        b"HTTP/1.1 099\r\n\r\n",
        b"HTTP/2 101\r\n\r\n",
        b"http/1.1 101\r\n\r\n",
        b"HTTP/1.1 101\r\nUpgrade\r\n\r\n",
        b"HTTP/1.1 101\r\n: 1\r\n\r\n",
        b"HTTP/1.1 101\r\nA B: 1\r\n\r\n",
        b"HTTP/1.1 101\r\n A: 1\r\n\r\n",
        b"HTTP/1.1 101\r\nA: 1\r2\r\n\r\n",
        b"HTTP/1.1 101\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 101\r\nA\xe9: 1\r\n\r\n",
    ],
)
def test_what_is_ambiguous_or_no_head_is_refused(data):
    with pytest.raises(RefusedError, match="not HTTP"):
        read(data)


@pytest.mark.parametrize("after", [b"", b"after"])
@pytest.mark.parametrize("interim", [b"", b"\r\n", b"HTTP/1.1 100\r\n\r\n"])
def test_the_bound_is_over_all_that_comes_before_the_heads_end(interim, after):
    data = interim + b"HTTP/1.1 101\r\nA: 1\r\n\r\n"
    assert read(data + after, max_size=len(data))[1] == after
    with pytest.raises(RefusedError, match=rf"max_header_size \({len(data) - 1} bytes\)"):
        read(data + after, max_size=len(data) - 1)


@pytest.mark.parametrize("piece", [b"x", b"\r\n", b"HTTP/1.1 100\r\n\r\n"])
def test_what_never_ends_is_refused_at_the_bound(piece):
    reader = HeadReader(100)
    for _ in range(100 // len(piece)):
        assert reader.feed(piece) is None
    with pytest.raises(RefusedError, match="max_header_size"):
        reader.feed(piece)


@given(
    data=st.lists(
        st.sampled_from(
            [b"HTTP/1.1 101\r\n", b"HTTP/1.1 100 X\n", b"A: 1", b"\r", b"\n", b"\r\n", b" b", b"\xff", b"c"]
        )
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 120)),
)
def test_it_does_not_matter_how_the_bytes_are_cut(data, cuts):
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]

    def outcome(pieces):
        reader, rest = HeadReader(80), b""
        try:
            for piece in pieces:
                rest = rest + piece if reader.head else reader.feed(piece) or b""
        except RefusedError as error:
            return str(error)
        return reader.head, rest

    whole = outcome([data])
    assert outcome([data[start:end] for start, end in itertools.pairwise(places)]) == whole


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([], {}),
        ([("Content-Length", "12")], {"Content-Length": "12"}),
        ([("Content-Length", "12"), ("content-length", "12")], {"Content-Length": "12"}),
        ([("Content-Length", "12, 12")], {"Content-Length": "12"}),
        ([("Content-Length", "12"), ("Content-Length", "13")], {}),
        ([("Content-Length", "-1")], {}),
        ([("Content-Length", "9" * 30)], {}),
        ([("Content-Length", "12"), ("Transfer-Encoding", "chunked")], {"Transfer-Encoding": "chunked"}),
        ([("Transfer-Encoding", "gzip, Chunked")], {"Transfer-Encoding": "chunked"}),
        ([("Transfer-Encoding", "gzip")], {}),
        ([("Content-Encoding", "gzip"), ("Server", "x")], {"Content-Encoding": "gzip"}),
        ([("Content-Encoding", "gzip, br")], {}),
        ([("Content-Encoding", "\x01")], {}),
    ],
)
def test_where_a_body_ends(headers, kept):
    assert framing(CIMultiDict(headers)) == kept


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"retry-after": "0"}, 0.0),
        ({"Retry-After": "9" * 400}, float("inf")),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sunday, 01-Mar-26 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sun Mar  1 12:00:30 2026"}, 30.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 01 Mar 2020 00:01:00 GMT", "Date": "Sun, 01 Mar 2020 00:00:00 GMT"}, 60.0),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT", "Date": "yesterday"}, 30.0),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sun, 01 Mar 99999 12:00:30 GMT"}, None),
    ],
)
def test_how_long_the_server_asks_to_wait(headers, seconds):
    assert asked_delay(CIMultiDict(headers), NOW) == seconds
