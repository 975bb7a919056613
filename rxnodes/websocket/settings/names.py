"""Which names connections, headers, query values and subprotocols may have, and which values."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, SecretStr

__all__ = ["ConnectionName", "HeaderName", "HeaderValue", "QueryName", "QueryValue", "SubprotocolName"]

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: Headers that only the handshake may set, and what a user can do instead.
_HANDSHAKE_HEADERS = {
    "connection": "the handshake sets it",
    "content-length": "a handshake has no body",
    "sec-websocket-accept": "only servers send it",
    "sec-websocket-extensions": "compression sets it",
    "sec-websocket-key": "the handshake sets it",
    "sec-websocket-protocol": "subprotocols sets it",
    "sec-websocket-version": "the handshake sets it",
    "transfer-encoding": "a handshake has no body",
    "upgrade": "the handshake sets it",
}


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("must be a header name: letters, digits and !#$%&'*+-.^_`|~")
    lower = name.lower()
    if lower in _HANDSHAKE_HEADERS or lower.startswith("sec-websocket-"):
        raise ValueError(f"cannot be set here: {_HANDSHAKE_HEADERS.get(lower, 'the handshake sets it')}")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    # Categories of Unicode: Cc are control characters; Cs are halves of surrogate pairs, which cannot be encoded.
    if any(unicodedata.category(char) in {"Cc", "Cs"} and char != "\t" for char in value.get_secret_value()):
        raise ValueError("must not contain line breaks or other control characters")
    return value


def _query_name(name: str) -> str:
    # Text that cannot be encoded comes from an environment variable that is not UTF-8.
    if not name or any(unicodedata.category(char) == "Cs" for char in name):
        raise ValueError("must be a name of valid Unicode text")
    return name


def _query_value(value: SecretStr) -> SecretStr:
    if any(unicodedata.category(char) == "Cs" for char in value.get_secret_value()):
        raise ValueError("must be valid Unicode text")
    return value


def _subprotocol(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("must be a subprotocol name: letters, digits and !#$%&'*+-.^_`|~")
    return name


def _connection_name(name: str) -> str:
    if not name.isprintable() or name != name.strip() or not name:
        raise ValueError("must be a name of printable characters, without spaces around it")
    return name


ConnectionName = Annotated[str, AfterValidator(_connection_name)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
QueryName = Annotated[str, AfterValidator(_query_name)]
QueryValue = Annotated[SecretStr, AfterValidator(_query_value)]
SubprotocolName = Annotated[str, AfterValidator(_subprotocol)]
