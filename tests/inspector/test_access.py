"""Who may see the live page: the rules themselves."""

from __future__ import annotations

import hmac

import pytest

from rxnodes.inspector.access import Access


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", "127.0.0.1.example.com"])  # noqa: S104 - it is refused
def test_no_token_is_for_loopback_only(host):
    with pytest.raises(ValueError, match="others can reach the page"):
        Access(host, False)


@pytest.mark.parametrize("token", [None, "token", False])
def test_a_host_that_is_none_is_no_place(token):
    """The system would take it for all addresses."""
    with pytest.raises(ValueError, match="host must be"):
        Access("", token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_on_loopback_it_may_be_none(host):
    assert Access(host, False).is_allowed("", "")


@pytest.mark.parametrize("token", ["", "with space", "line\nbreak", "é", '"'])
def test_a_token_that_cannot_be_carried_is_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="the token must be") as refused:
        Access("127.0.0.1", token)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("token", [0, True, b"bytes"])
def test_a_token_of_another_type_is_refused(token):
    with pytest.raises(TypeError, match="token must be a str, None or False"):
        Access("127.0.0.1", token)


def test_tokens_that_are_made_are_long_and_differ():
    one, other = Access("127.0.0.1", None), Access("127.0.0.1", None)
    assert one.token != other.token
    assert len(one.token) >= 43, "256 bits"


@pytest.mark.parametrize(
    ("authorization", "cookie", "is_allowed"),
    [
        ("Bearer right", "", True),
        ("bearer right", "", True),
        ("", Access("127.0.0.1", "right").cookie, True),
        ("Bearer wrong", Access("127.0.0.1", "right").cookie, True),
        ("Bearer wrong", "", False),
        ("Bearer right2", "", False),
        ("Bearer righ", "", False),
        ("Basic right", "", False),
        ("right", "", False),
        ("", "right", False),
        ("Bearer ", "", False),
        ("Bearer \udcff", "\udcff", False),
        ("", "", False),
        ("", Access("127.0.0.1", "other").cookie, False),
    ],
)
def test_the_token_or_its_cookie_gives_access(authorization, cookie, is_allowed):
    assert Access("127.0.0.1", "right").is_allowed(authorization, cookie) is is_allowed


def test_they_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)) or True)
    access = Access("127.0.0.1", "right")
    access.is_allowed("Bearer guess", "")
    access.is_allowed("", "guess")
    assert (b"guess", b"right") in compared
    assert (b"guess", access.cookie.encode()) in compared


def test_neither_is_in_its_repr():
    access = Access("127.0.0.1", "s3cret")
    assert "s3cret" not in repr(access)
    assert access.cookie not in repr(access)
    assert "s3cret" not in access.cookie


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "localhost:9000", "[::1]:80", "192.168.0.7:80", "Here:80"]
)
def test_a_host_that_leads_here(host):
    assert Access("here", "right").is_for_us(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "there", "[::1", "@"],
)
def test_a_host_that_may_be_rebound(host):
    assert not Access("here", "right").is_for_us(host)


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"Origin": "http://here:80"}, True),
        ({"Origin": "https://here:80"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://here"}, False),
        ({"Origin": "http://here:81"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://here:80", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_where_a_request_comes_from(headers, is_ours):
    assert Access.is_from_us({"Host": "here:80", **headers}) is is_ours
