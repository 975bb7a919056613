"""The words for a dial that failed. They are ours, because aiohttp's have URLs and headers in them, and so secrets."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp

from rxnodes.errors import ConnectError
from rxnodes.transport.reasons import reason_of
from rxnodes.wire.answer import asked_delay
from rxnodes.wire.handshake import RefusedError
from rxnodes.wire.tunnel import ProxyRefusedError

if TYPE_CHECKING:
    from collections.abc import Generator

    from rxnodes.wire.answer import AnswerHead

__all__ = ["explain", "explain_refusal", "failing"]


def explain(error: BaseException) -> ConnectError:  # noqa: PLR0911 - one return for each kind
    """Says why a dial failed."""
    match error:
        case ConnectError():
            # Without the errors and the frames that led to it.
            error.__cause__ = error.__context__ = error.__traceback__ = None
            return error
        case ProxyRefusedError():
            return _explain_proxy(error)
        case RefusedError():
            return ConnectError(str(error))
        case aiohttp.ClientResponseError():
            return ConnectError("the server's answer is not HTTP")
        case OSError():
            return ConnectError(f"the connection failed: {reason_of(error)}")
        case ValueError() | TypeError() | OverflowError():
            # The settings accept the value, but aiohttp, the name lookup or TLS does not. Each attempt would fail.
            return ConnectError(
                "nothing was sent, because url, headers or tls hold a value that cannot be encoded or connected to",
                retryable=False,
            )
        case _:
            return ConnectError(f"the handshake failed in an unexpected way ({type(error).__name__})")


@contextlib.contextmanager
def failing(step: str) -> Generator[None]:
    """Turns an error of the system into a `ConnectError`, in one step of a dial.

    Args:
        step: The words for the step, such as "the TCP connection failed".
    """
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        reason = f"the server's certificate is not trusted: {reason_of(error)}"
        raise ConnectError(reason, untrusted_certificate=True) from None
    except ssl.SSLError as error:
        raise ConnectError(f"the TLS handshake failed: {reason_of(error)}") from None
    except (OSError, RuntimeError) as error:
        # A RuntimeError is uvloop's, for a socket that has gone.
        raise ConnectError(f"{step}: {reason_of(error)}") from None


def _explain_proxy(error: ProxyRefusedError) -> ConnectError:
    answer = error.answer
    return ConnectError(
        str(error),
        proxy_status=None if answer is None else answer.status,
        retry_after=None if answer is None else asked_delay(answer.headers, datetime.now(UTC)),
        retryable=not error.is_final,
    )


def explain_refusal(error: RefusedError, answer: AnswerHead) -> ConnectError:
    """Says why we do not accept the server's answer, with what its head says."""
    return ConnectError(
        str(error),
        status=answer.status,
        headers=answer.headers,
        retry_after=asked_delay(answer.headers, datetime.now(UTC)),
    )
