"""The format of recordings: what is written is read again, and what is no recording is refused."""

from __future__ import annotations

import json

import pytest

from rxnodes import ConnectError, ConnectionLost, HandlerError, Initiator
from rxnodes.lifecycle.secret_text import SecretText
from rxnodes.recording import LeftOut, Message, Messages, Pulse
from rxnodes.recording.entries import Recorded
from rxnodes.recording.lines import Head, head_line, line_of, read
from rxnodes.testing import closing, connecting, dropped, error_event, events, opened, stopped

HEAD = Head(events.AT, {})
COMMON = {"connection": 'a "name"\ud800\n', "session": 1, "attempt": 2, "at": events.AT}
HOSTILE = '"event":"Message","count":7'

ENTRIES = [
    connecting(connection=HOSTILE),
    opened(),
    dropped(1012, "restarting", retry_in=0.5),
    closing(Initiator.REMOTE),
    stopped(4000, HOSTILE),
    Message(**COMMON, direction="in", kind="text", size=3, payload="\u2028\U0001f600"),
    Message(**COMMON, direction="out", kind="binary", size=2, payload=b"\x00\xff"),
    Message(**COMMON, direction="out", kind="binary", size=2),
    Messages(**COMMON, direction="in", kind="text", count=3, size=9, span=0.05),
    Pulse(**COMMON, node="WebSocket Client Stop"),
    LeftOut(messages=3, pulses=2, events=1),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_read_as_it_was_written(entry):
    line = line_of(Recorded(1.5, entry))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert read([head_line(HEAD), line]) == (HEAD, [Recorded(1.5, entry)])


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused", status=503, retry_after=2.0, retryable=False, code=4401, reason="no token"),
        ConnectError("the proxy answered 407", proxy_status=407),
        ConnectionLost("the connection ended", code=4000, reason="bye"),
        HandlerError("a subscriber raised ValueError"),
    ],
)
def test_an_exception_keeps_its_type_its_text_and_its_numbers(error):
    _, [told] = read([head_line(HEAD), line_of(Recorded(0.0, error_event("connect", error)))])
    assert type(told.value.error) is type(error)
    assert str(told.value.error) == str(error)
    for name in ("status", "proxy_status", "retry_after", "retryable", "code", "reason"):
        assert getattr(told.value.error, name, None) == getattr(error, name, None)


@pytest.mark.parametrize(
    "event",
    [
        error_event("connect", ConnectError("refused", body=b"top-secret", headers={"Set-Cookie": "top-secret"})),
        opened(subprotocol=SecretText("top-secret")),
    ],
)
def test_what_may_be_secret_is_not_written(event):
    assert b"top-secret" not in line_of(Recorded(0.0, event))


def test_entries_are_in_the_order_of_time():
    lines = [line_of(Recorded(time, connecting(session=int(time)))) for time in (2.0, 1.0, 3.0)]
    assert [it.time for it in read([head_line(HEAD), *lines])[1]] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "no recording of rxnodes"),
        ([b"\x89PNG\n"], "no recording of rxnodes"),
        ([b"[1, 2]\n"], "no recording of rxnodes"),
        ([b'{"rxnodes": "something"}\n'], "no recording of rxnodes"),
        ([b'{"rxnodes": "recording", "version": 2}\n'], "of version 2; this rxnodes reads version 1"),
        ([b'{"rxnodes": "recording", "version": 1}\n'], "line 1"),
        ([head_line(HEAD), b"{}\n"], "line 2"),
        ([head_line(HEAD), b'{"t": 1, "event": "Nonsense"}\n'], "line 2"),
        ([head_line(HEAD), line_of(Recorded(0.0, connecting())).replace(b"url", b"uri")], "line 2"),
        ([b"[" * 100_000 + b"\n"], "no recording of rxnodes"),
        ([head_line(HEAD), b"[" * 100_000 + b"\n"], "line 2"),
        *(
            ([head_line(HEAD), line_of(entry).replace(right, wrong)], f"line 2 .*{says}")
            for entry, right, wrong, says in (
                (Recorded(0.0, connecting()), b'"t":0.0', b'"t":NaN', "t cannot be nan"),
                (Recorded(0.0, connecting()), b'"t":0.0', b'"t":-1', "t cannot be -1"),
                (Recorded(0.0, connecting()), b'"t":0.0', b'"t":1' + b"0" * 400, "t cannot be 1000"),
                (Recorded(0.0, connecting()), b'"t":0.0', b'"t":"0"', "t cannot be '0'"),
                (Recorded(0.0, connecting()), b'"t":0.0,', b"", "it has no 't'"),
                (Recorded(0.0, connecting()), b'"chat"', b'["chat"]', r"connection cannot be \['chat'\]"),
                (Recorded(0.0, connecting()), b"2000-01-01T00:00:00+00:00", b"0001-01-01T00:00:00+23:00", ""),
                (Recorded(0.0, connecting()), b'"Connecting"', b'["Connecting"]', ""),
                (Recorded(0.0, stopped()), b'"code":1000', b'"code":"1000"', "code cannot be '1000'"),
                (Recorded(0.0, ENTRIES[5]), b'"in"', b'"sideways"', "direction cannot be 'sideways'"),
                (Recorded(0.0, ENTRIES[8]), b'"count":3', b'"count":0', "count cannot be 0"),
                (Recorded(0.0, ENTRIES[8]), b'"size":9', b'"size":9e99', "size cannot be"),
                (Recorded(0.0, error_event("receive")), b'"code":1006', b'"code":{}', "code cannot be"),
            )
        ),
    ],
)
def test_what_is_no_recording_is_refused(lines, problem):
    with pytest.raises(ValueError, match=problem):
        read(lines)


def test_a_line_is_plain_json():
    fields = json.loads(line_of(Recorded(0.25, error_event("receive"))))
    assert fields["event"] == "ErrorEvent"
    assert fields["error"] == {"type": "ConnectionLost", "message": "the connection broke", "code": 1006, "reason": ""}
