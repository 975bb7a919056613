"""What is asked of JetStream: writes behind an expected sequence, last entries, streams and consumers.

The requests are those of NATS' JetStream API, https://github.com/nats-io/nats-architecture-and-design, ADR-1 and ADR-8.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes.fleet.store import NobodyThere, Refused, StoreError, StoreFull, TooLarge, Unknown

if TYPE_CHECKING:
    from rxnodes.fleet.nats.connection import NatsConnection

__all__ = ["DELETED", "ApiError", "JetStream", "LastMessage"]

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
#: What makes an entry of a bucket one that is gone (ADR-8).
DELETED: Final = {"KV-Operation": "DEL"}
_GONE: Final = b"KV-Operation:"

# Of the server's errors.json.
_NO_MESSAGE: Final = 10037
#: What a write that was not done raises, by the number of its error; `Unknown` for any other.
_IN_WRITING: Final[dict[int, type[StoreError]]] = {
    **dict.fromkeys((10071, 10164), Refused),
    **dict.fromkeys((10023, 10028, 10047, 10077), StoreFull),
    10054: TooLarge,
}


class ApiError(StoreError):
    """JetStream says no.

    Attributes:
        code: What kind of a no, as an HTTP status: from 500 on it may say yes later.
        number: Which no.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        self.code = int(error.get("code", 500))
        self.number = int(error.get("err_code", 0))
        super().__init__(str(error.get("description", "")))


@dataclass(frozen=True, slots=True)
class LastMessage:
    """An entry as it stands in a stream.

    Attributes:
        value: Its bytes; `None`: it says that the key is gone.
        sequence: Its number in the stream.
    """

    value: bytes | None
    sequence: int


class JetStream:
    """The JetStream of the servers that a connection leads to.

    Args:
        connection: The connection.
        timeout: Seconds to wait for each answer.
    """

    def __init__(self, connection: NatsConnection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def put(self, subject: str, value: bytes, expected: int | None, headers: dict[str, str] | None = None) -> int:
        """Writes behind the entry of this subject that has the `expected` sequence; 0: behind none; `None`: any.

        Returns:
            Its sequence.

        Raises:
            Refused, Unknown, StoreFull, TooLarge: As in `Store`.
        """
        if expected is not None:
            headers = {_EXPECTED: str(expected), **(headers or {})}
        try:
            answer = await self._asked(subject, value, headers)
            return int(answer["seq"])
        except ApiError as error:
            raise _IN_WRITING.get(error.number, Unknown)(str(error)) from error

    async def last(self, stream: str, subject: str) -> LastMessage | None:
        """The last entry of a subject, as the stream's leader has it; `None`: there is none.

        Raises:
            Unknown: If no answer came.
        """
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.number == _NO_MESSAGE:
                return None
            raise Unknown(str(error)) from error
        message = answer["message"]
        is_gone = _GONE in base64.b64decode(message.get("hdrs", ""))
        return LastMessage(None if is_gone else base64.b64decode(message.get("data", "")), int(message["seq"]))

    async def api(self, operation: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other request.

        Raises:
            ApiError: If JetStream says no.
            Unknown: If no answer came.
        """
        return await self._asked(f"$JS.API.{operation}", b"" if body is None else json.dumps(body).encode())

    async def _asked(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            answer = await self._connection.request(subject, payload, headers, timeout=self._timeout)
        except NobodyThere as error:
            # No leader now, or no JetStream at all.
            raise Unknown("JetStream does not answer") from error
        try:
            fields = json.loads(answer.data)
        except ValueError as error:
            raise Unknown("JetStream's answer cannot be read") from error
        if "error" in fields:
            raise ApiError(fields["error"])
        return cast("dict[str, Any]", fields)
