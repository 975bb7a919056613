"""The opening handshake: our request, and the answers that we accept (RFC 6455 section 4.1)."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from multidict import CIMultiDict, istr

from rxnodes.errors import text_of
from rxnodes.wire.deflate import Deflate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Agreement", "Handshake", "RefusedError", "parse_deflate_parameters"]

SWITCHING_PROTOCOLS: Final = 101

#: The names of headers.
CONNECTION: Final = istr("Connection")
SEC_WEBSOCKET_ACCEPT: Final = istr("Sec-WebSocket-Accept")
SEC_WEBSOCKET_EXTENSIONS: Final = istr("Sec-WebSocket-Extensions")
SEC_WEBSOCKET_KEY: Final = istr("Sec-WebSocket-Key")
SEC_WEBSOCKET_PROTOCOL: Final = istr("Sec-WebSocket-Protocol")
SEC_WEBSOCKET_VERSION: Final = istr("Sec-WebSocket-Version")
UPGRADE: Final = istr("Upgrade")

#: RFC 6455 section 1.3: a server appends this to our key.
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: Our offer: permessage-deflate with a window of any size (RFC 7692 section 7.1).
DEFLATE_OFFER: Final = "permessage-deflate; client_max_window_bits"


class RefusedError(Exception):
    """The server gave no answer to the handshake, or one that we do not accept."""


class Agreement(NamedTuple):
    """The server's choice among our offers.

    Attributes:
        subprotocol: The subprotocol; `None`: none.
        deflate: The compression; `None`: none.
    """

    subprotocol: str | None
    deflate: Deflate | None


class Handshake:
    """One opening handshake.

    Args:
        subprotocols: Offered to the server, the preferred first.
        compression: Whether permessage-deflate is offered.
    """

    __slots__ = ("_key", "_offers_compression", "_subprotocols")

    def __init__(self, subprotocols: tuple[str, ...], *, compression: bool) -> None:
        self._subprotocols = subprotocols
        self._offers_compression = compression
        self._key = base64.b64encode(os.urandom(16))

    def headers(self, more: Mapping[str, str]) -> CIMultiDict[str]:
        """The headers of the request: those of the handshake, and `more`."""
        headers = CIMultiDict(more)
        headers[UPGRADE] = "websocket"
        headers[CONNECTION] = "Upgrade"
        headers[SEC_WEBSOCKET_VERSION] = "13"
        headers[SEC_WEBSOCKET_KEY] = self._key.decode()
        if self._subprotocols:
            headers[SEC_WEBSOCKET_PROTOCOL] = ", ".join(self._subprotocols)
        if self._offers_compression:
            headers[SEC_WEBSOCKET_EXTENSIONS] = DEFLATE_OFFER
        return headers

    def agree(self, status: int, answer: CIMultiDict[str]) -> Agreement:
        """Checks the server's answer.

        Raises:
            RefusedError: If RFC 6455 section 4.1 does not let us accept it.
        """
        if status != SWITCHING_PROTOCOLS:
            raise RefusedError(f"the server answered {status} instead of 101")
        try:
            self._check_upgrade(answer)
            return Agreement(self._subprotocol(answer), self._deflate(answer))
        except ValueError as error:
            # The server may have chosen a part of this text.
            complaint = text_of(error)
        # Outside the handler, so that the error carries no context.
        raise RefusedError(complaint)

    def _check_upgrade(self, answer: CIMultiDict[str]) -> None:
        if answer.get(UPGRADE, "").lower() != "websocket":
            raise ValueError("the server's answer does not upgrade to WebSocket")
        if "upgrade" not in _tokens(answer.getall(CONNECTION, ())):
            raise ValueError("the server's answer does not upgrade the connection")
        digest = hashlib.sha1(self._key + GUID, usedforsecurity=False).digest()
        if answer.get(SEC_WEBSOCKET_ACCEPT) != base64.b64encode(digest).decode():
            raise ValueError("the server's answer is not one to this handshake")

    def _subprotocol(self, answer: CIMultiDict[str]) -> str | None:
        chosen = answer.getall(SEC_WEBSOCKET_PROTOCOL, ())
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0] not in self._subprotocols:
            raise ValueError("the server chose a subprotocol that was not offered")
        return chosen[0]

    def _deflate(self, answer: CIMultiDict[str]) -> Deflate | None:
        chosen = ",".join(answer.getall(SEC_WEBSOCKET_EXTENSIONS, ()))
        if not chosen:
            return None
        if not self._offers_compression:
            raise ValueError("the server chose an extension, though none was offered")
        return parse_deflate_parameters(chosen)


def _tokens(values: Iterable[str]) -> set[str]:
    return {token.strip().lower() for value in values for token in value.split(",")}


def parse_deflate_parameters(chosen: str) -> Deflate:
    """Makes the compression that a server chose (RFC 7692 section 7.1).

    Args:
        chosen: The value of its `Sec-WebSocket-Extensions`.

    Raises:
        ValueError: If the value is not permessage-deflate with parameters that we offered.
    """
    name, *parameters = (part.strip() for part in chosen.split(";"))
    if name != "permessage-deflate":
        raise ValueError(f"the server chose the extension {name!r}, which was not offered")
    values: dict[str, Any] = {}
    for parameter in parameters:
        key, _, value = (part.strip().strip('"') for part in parameter.partition("="))
        if key in values:
            raise ValueError(f"the server gave the parameter {key!r} of permessage-deflate twice")
        values[key] = _check_parameter(key, value)
    return Deflate(
        values.get("client_max_window_bits", zlib.MAX_WBITS),
        no_context_takeover="client_no_context_takeover" in values,
    )


def _check_parameter(key: str, value: str) -> int | None:
    if key in ("server_no_context_takeover", "client_no_context_takeover") and not value:
        return None
    if key == "server_max_window_bits" and value.isdecimal() and 8 <= int(value) <= zlib.MAX_WBITS:  # noqa: PLR2004
        return int(value)
    # The RFC allows a server to ask for a window of 8 bits, but zlib cannot compress with one.
    if key == "client_max_window_bits" and value.isdecimal() and 9 <= int(value) <= zlib.MAX_WBITS:  # noqa: PLR2004
        return int(value)
    raise ValueError(f"the server gave permessage-deflate a parameter that cannot be: {key!r}")
