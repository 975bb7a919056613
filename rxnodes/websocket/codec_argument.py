"""The argument `codec` of the nodes: which stream it reads, and how it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxnodes.codecs import AS_BYTES, AS_TEXT, as_codec, encode, for_any_type
from rxnodes.connection.outbound import to_payload
from rxnodes.connection.protocols import check_connection
from rxnodes.errors import SendError, text_of
from rxnodes.rx.arguments import UNSET, check_callback, check_flag

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.connection.connection import Binary
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt

    RawMessage: TypeAlias = str | Binary | Callable[[], str | Binary]
    """A message that needs no codec, or a function that gives one."""

__all__ = ["UNSET", "Writer", "read_with", "reader_and_writer", "reader_of", "report_unsent", "stream_of"]


def read_with(connection: ConnectionLike, codec: Any = UNSET, *, batched: bool = False) -> Observable[Any]:
    """The messages of a connection, as a codec reads them.

    Args:
        connection: The connection.
        codec: What `as_codec` takes, or `None`: as they came. Left out: the connection's codec, or else `str`.
        batched: Whether to emit lists, one for each read of the socket.

    Raises:
        TypeError: If an argument is no connection or no codec, or `batched` is no `bool`.
        ValueError: If no codec has that name, or its package is not installed.
    """
    return stream_of(connection, reader_of(connection, codec), batched=batched)


def reader_of(connection: ConnectionLike, codec: Any = UNSET) -> Codec[Any] | None:
    """The codec that reads the messages of a connection; `None` if they are given as they came.

    The arguments and the errors are those of `read_with`.
    """
    check_connection(connection)
    return _codec_of(connection, codec, default=AS_TEXT)


def stream_of(connection: ConnectionLike, reader: Codec[Any] | None, *, batched: bool = False) -> Observable[Any]:
    """The messages of a connection, as this codec reads them."""
    check_flag("batched", batched)
    # The connection has streams of its own for what needs no decoding.
    if reader is None:
        return connection.for_nodes.batches(is_binary=None) if batched else connection.messages
    if reader == AS_TEXT:
        return connection.for_nodes.batches(is_binary=False) if batched else connection.for_nodes.texts
    if reader == AS_BYTES:
        return connection.for_nodes.batches(is_binary=True) if batched else connection.for_nodes.binaries
    return connection.for_nodes.values(reader, batched=batched)


def reader_and_writer(connection: ConnectionLike, codec: Any = UNSET) -> tuple[Codec[Any] | None, Writer]:
    """The codec that reads the messages of a conversation, and the writer of its own messages.

    With the codec of a type, the writer takes values of any type. The errors are those of `read_with`.
    """
    reader = reader_of(connection, codec)
    # Without any codec, messages are read as text, but sent as they are.
    is_raw = codec is UNSET and connection.codec is None
    return reader, Writer(connection, None if is_raw else reader, takes_any_type=True)


class Writer:
    """Writes values as messages, and sends them.

    Args:
        connection: The connection.
        codec: What `as_codec` takes, or `None`: values are messages already, a `str` goes as text and `bytes` as
            binary. Left out: the connection's codec, or else `None`.
        is_binary: As in `Connection.send`, in place of a codec.
        takes_any_type: Whether a value may be of another type than the codec's.

    Raises:
        TypeError: As `read_with`; and if `is_binary` is neither a `bool` nor `None`, or is given beside `codec`.
        ValueError: As `read_with`.
    """

    __slots__ = ("_codec", "_connection", "_is_binary")

    def __init__(
        self,
        connection: ConnectionLike,
        codec: Any = UNSET,
        *,
        is_binary: bool | None = UNSET,
        takes_any_type: bool = False,
    ) -> None:
        check_connection(connection)
        if is_binary is UNSET:
            is_binary = None
        else:
            check_is_binary(is_binary, codec)
            codec = None
        writer = _codec_of(connection, codec, default=None)
        self._connection = connection
        self._codec = for_any_type(writer) if takes_any_type and writer is not None else writer
        self._is_binary = is_binary

    def send(self, value: Any, *, tag: object = None) -> Receipt:
        """Sends the message of a value.

        Raises:
            SendError: If the value is of the wrong type, or the codec cannot encode it.
        """
        try:
            return self._connection.send(value, is_binary=self._is_binary, codec=self._codec, tag=tag)
        except (TypeError, ValueError) as error:
            raise SendError(f"{self._connection.name!r}: {error}") from error

    def constant_sender(self, value: Any) -> Callable[..., Receipt]:
        """A function that sends a constant. The constant is encoded now, so that a wrong one raises here.

        Raises:
            TypeError: If the constant is of the wrong type.
            ValueError: If the codec cannot encode it.
        """
        message = value if self._codec is None else encode(self._codec, value)
        to_payload(message, is_binary=self._is_binary)

        def send(tag: object = None) -> Receipt:
            return self._connection.send(message, is_binary=self._is_binary, codec=None, tag=tag)

        return send

    def sender(self, message: Any) -> Callable[[], Receipt]:
        """A function that sends a constant, or at each call what a function returns."""
        if not callable(message):
            return self.constant_sender(message)
        check_callback("a message", message, gives="what to send")
        return lambda: self.send(message())


def report_unsent(connection: ConnectionLike, error: Exception, consequence: str) -> None:
    """Publishes that a message which nobody awaits was not sent, and what follows from that."""
    cause = (isinstance(error, SendError) and error.__cause__) or error
    unsent = SendError(f"{connection.name!r}: {text_of(cause)}: {consequence}")
    unsent.__cause__ = cause
    connection.for_nodes.report("send", unsent)


def check_is_binary(is_binary: bool | None, codec: Any) -> None:  # noqa: FBT001 - it is what is checked
    """Raises a `TypeError` for an `is_binary` of another type, and for a codec beside it."""
    check_flag("is_binary", is_binary, is_optional=True)
    if codec is not UNSET:
        raise TypeError("expected is_binary or codec, got both; codec=str, bytes or None says the same as is_binary")


def _codec_of(connection: ConnectionLike, codec: Any, *, default: Codec[Any] | None) -> Codec[Any] | None:
    if codec is UNSET:
        return default if connection.codec is None else connection.codec
    return None if codec is None else as_codec(codec)
