"""JSON-RPC 2.0 over a WebSocket: calls, and notifications in both directions."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from reactivex import Observable, abc
from reactivex import operators as ops

from rxnodes.errors import DecodeError, RxNodesError, printable
from rxnodes.rx.streams import Derived, IsolatedSubject
from rxnodes.websocket.codec_argument import read_with
from rxnodes.websocket.exchange import to_seconds
from rxnodes.websocket.request import request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt
    from rxnodes.websocket.exchange import Timeout

__all__ = ["JsonRpc", "JsonRpcError", "Notification", "json_rpc"]


class JsonRpcError(RxNodesError):
    """The peer answered a call with an error (JSON-RPC 2.0 section 5.1).

    Attributes:
        code: The kind of error, as a number.
        message: The peer's description.
        data: The peer's details, if it gave any.
    """

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{printable(message)} (code {code})")
        self.code = code
        self.message = message
        self.data = data


class Notification(NamedTuple):
    """A call of the peer that wants no answer (JSON-RPC 2.0 section 4.1).

    Attributes:
        method: The method's name.
        params: A list, a dict by name, or `None`.
    """

    method: str
    params: Any


def json_rpc(connection: ConnectionLike, *, timeout: Timeout = 10.0) -> JsonRpc:
    """Speaks JSON-RPC 2.0 on a connection. Keep the result, which numbers the calls: one is enough for a connection.

    Args:
        connection: The connection. Its messages are read and written as JSON, whatever its own codec is.
        timeout: Seconds to wait for the answer to a call, as in `request`.

    Returns:
        Our side of the conversation.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `timeout` is out of its range.

    Example:
        >>> from rxnodes import Project
        >>> wallet = json_rpc(Project(websocket={"node": "ws://127.0.0.1:8546/"}).websocket("node"))
        >>> balance = wallet.call("eth_getBalance", ["0x407d73d8a49eeb85d32cf465507dd71d507100c1", "latest"])
        >>> balance.subscribe(print, lambda error: print(type(error).__name__, "-", error)) and None
        SendError - 'node' is idle, not open: request not sent
    """
    return JsonRpc(connection, timeout)


class JsonRpc:
    """One side of JSON-RPC 2.0 on a connection. `json_rpc` makes it.

    Attributes:
        notifications: The peer's notifications. The observable is hot, never errors, and completes when the project
            closes.
    """

    def __init__(self, connection: ConnectionLike, timeout: Timeout) -> None:
        self._connection = connection
        self._timeout = to_seconds(timeout)
        self._numbers = count(1)
        messages = cast("IsolatedSubject[Any]", read_with(connection, "json"))
        self.notifications: Observable[Notification] = Derived(messages, _relay_notification)

    def call(self, method: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Observable[Any]:
        """Calls a method of the peer. Each subscription calls it again; a coroutine can await it.

        Args:
            method: The method's name.
            params: The arguments, by position or by name.

        Returns:
            A cold observable of one result. Its errors are those of `request`, `JsonRpcError`, and a `ValueError` if
            JSON cannot hold `params`.
        """
        message = _message(method, params)

        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            number = next(self._numbers)
            answer = request(
                self._connection,
                message | {"id": number},
                match=(_number_of_answer, number),
                timeout=self._timeout,
                codec="json",
            )
            return answer.pipe(ops.map(_result_of)).subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    def notify(self, method: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Receipt:
        """Calls a method of the peer without waiting for an answer.

        Args:
            method: The method's name.
            params: The arguments, by position or by name.

        Returns:
            The message's receipt.

        Raises:
            ValueError: If JSON cannot hold `params`.
        """
        return self._connection.send(_message(method, params), codec="json")


def _message(method: str, params: object) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return message if params is None else message | {"params": params}


def _number_of_answer(message: Any) -> Any:
    """The number of the call that a message answers. A call of the peer's is no answer: the peer numbers its own."""
    if "method" in message:
        raise LookupError
    return message["id"]


def _result_of(answer: dict[str, Any]) -> Any:
    error = answer.get("error")
    if isinstance(error, dict):
        fields = cast("dict[str, Any]", error)
        raise JsonRpcError(fields.get("code", 0), str(fields.get("message", "")), fields.get("data"))
    if "result" not in answer:
        raise DecodeError(f"an answer has neither a result nor an error: {printable(str(answer))}")
    return answer["result"]


def _relay_notification(message: Any, emit: Callable[[Notification], None]) -> None:
    if isinstance(message, dict) and "method" in message and "id" not in message:
        fields = cast("dict[str, Any]", message)
        emit(Notification(fields["method"], fields.get("params")))
