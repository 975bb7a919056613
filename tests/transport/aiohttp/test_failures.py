"""Why a dial failed, in words of our own."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp
import pytest

from rxnodes.transport.aiohttp.failures import explain


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "secret"), f"the connection failed: {os.strerror(errno.EMFILE)}"),
        (ConnectionAbortedError("secret"), f"the connection failed: {os.strerror(errno.ECONNABORTED)}"),
        (ConnectionResetError(), f"the connection failed: {os.strerror(errno.ECONNRESET)}"),
        (TimeoutError("secret"), f"the connection failed: {os.strerror(errno.ETIMEDOUT)}"),
        (
            OSError("Multiple exceptions: [Errno 111] secret, [Errno 101] secret, [Errno 111] secret"),
            f"the connection failed: {os.strerror(111)}, {os.strerror(101)}",
        ),
        (OSError("secret"), "the connection failed: no reason given"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the connection failed: Name or service not known",
        ),
        (socket.gaierror(), "the connection failed: no reason given"),
        (ssl.SSLError(), "the connection failed: no reason given"),
        (
            aiohttp.ClientPayloadError("secret"),
            "the handshake failed in an unexpected way (ClientPayloadError)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_is_told_in_words_of_our_own(error, says):
    told = explain(error)
    assert str(told) == says
    assert told.retryable
    assert told.status is None
