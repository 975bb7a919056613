"""The system's reasons for failures, without the addresses and URLs that its errors carry, and so without secrets."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
from typing import Final

__all__ = ["reason_of", "system_reason"]

#: The numbers of errors that have a class in Python. asyncio raises some of these classes without a number.
NUMBERS: Final = (errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT)


def system_reason(error: BaseException) -> str | None:
    """The system's reason for an error; `None`: it gives none."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
    elif isinstance(error, ssl.SSLError):
        reason = (getattr(error, "reason", None) or "").replace("_", " ").lower()
    elif isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.filename is not None):
        # About a name or a file, and never an address.
        reason = error.strerror or ""
    else:
        reason = ", ".join(map(os.strerror, _error_numbers(error)))
    return reason or None


def reason_of(error: BaseException) -> str:
    """The same, with words for an error that has no reason."""
    return system_reason(error) or "no reason given"


def _error_numbers(error: BaseException) -> list[int]:
    """The system's numbers of an error. An error for several addresses has them in its text."""
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return [error.errno]
    text = ""
    with contextlib.suppress(Exception):
        # A foreign exception may raise where it makes its text.
        text = str(error)
    named = list(dict.fromkeys(map(int, re.findall(r"\[Errno (\d+)\]", text))))
    return named or [number for number in NUMBERS if isinstance(error, type(OSError(number, "")))]
