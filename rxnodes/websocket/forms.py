"""The form in which a node sends and gives messages: raw, or through a codec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rxnodes.codecs import as_codec, encode, for_any_type
from rxnodes.connection.connection import CODEC_DECIDES
from rxnodes.connection.outbound import to_payload
from rxnodes.connection.protocols import check_connection
from rxnodes.errors import SendError
from rxnodes.rx.arguments import UNSET

if TYPE_CHECKING:
    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.connection.connection import Connection
    from rxnodes.transport.receipts import Receipt

__all__ = ["UNSET", "Form", "form_of"]


@dataclass(frozen=True, slots=True)
class Form:
    """How messages are written and read.

    Attributes:
        codec: What does it; `None`: they are raw.
        is_binary: What is asked of raw messages, as in `on_receive`.
        sends_binary: What is made of those that are sent, as in `Connection.send`.
    """

    codec: Codec[Any] | None
    is_binary: bool | None
    sends_binary: bool | None

    def written(self, value: Any) -> Any:
        """The message of a value, for `Connection.send` with no codec, which refuses what is no message.

        Raises:
            ValueError: If the codec cannot encode the value.
        """
        return value if self.codec is None else encode(self.codec, value)

    def constant(self, value: Any) -> Any:
        """The message of a value that is given once and for all.

        Raises:
            TypeError: If it is of the wrong type.
            ValueError: If it cannot be encoded.
        """
        message = self.written(value)
        to_payload(message, is_binary=self.sends_binary)
        return message

    def send_written(self, connection: Connection, message: Any, *, tag: object = None) -> Receipt:
        """Sends a message that is written already.

        Raises:
            TypeError: If it is none.
            ValueError: If it holds an unpaired surrogate.
        """
        return connection.send(message, is_binary=self.sends_binary, codec=None, tag=tag)

    def send(self, connection: Connection, value: Any, *, tag: object = None) -> Receipt:
        """Sends the message of a value.

        Raises:
            SendError: If there is none: the value is of the wrong type, or the codec cannot encode it.
        """
        try:
            return self.send_written(connection, self.written(value), tag=tag)
        except (TypeError, ValueError) as error:
            raise SendError(f"{connection.name!r}: {error}") from error

    def read(self, connection: Connection, *, batched: bool = False) -> Observable[Any]:
        """What comes, in this form."""
        if self.codec is not None:
            return connection.for_nodes.values(self.codec, batched=batched)
        if batched:
            return connection.for_nodes.batches(is_binary=self.is_binary)
        if self.is_binary is None:
            return connection.messages
        return connection.for_nodes.binaries if self.is_binary else connection.for_nodes.texts

    def for_any_type(self) -> Form:
        """The form of messages that are not of the codec's type."""
        return self if self.codec is None else replace(self, codec=for_any_type(self.codec))


def form_of(connection: Connection, codec: Any, is_binary: Any) -> Form:
    """The form that is meant: the one given, or else the connection's.

    Args:
        connection: The connection, whose codec counts where neither is given.
        codec: What `as_codec` takes; `None`: raw.
        is_binary: For raw messages; where it is not given, `str` is read, and sent is what it is.

    Raises:
        TypeError: If it is no connection, or no codec, or both are given.
        ValueError: If no codec has that name, or the package it needs is not installed.
    """
    check_connection(connection)
    if codec is UNSET:
        codec = connection.codec if is_binary is UNSET else None
    reads_binary, sends_binary = (False, None) if is_binary is UNSET else (is_binary, is_binary)
    if codec is None:
        return Form(None, reads_binary, sends_binary)
    if reads_binary is not False:
        raise TypeError(CODEC_DECIDES)
    return Form(as_codec(codec), is_binary=None, sends_binary=None)
