"""What is asked of the worker that holds a connection, and what it answers.

A request is a line that says what is asked, and the bytes of messages behind it. Nothing is asked twice: where no
answer comes, nobody knows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rxnodes.fleet.letters import Reading, Unreadable, dumped, line_of, loaded, token, with_line
from rxnodes.transport.receipts import SendDropped, Sent, SharedOutcome, Unsent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.transport.receipts import Receipt, SendOutcome

__all__ = [
    "ANY_INTEREST",
    "NOT_HELD",
    "AskForMessages",
    "AskToSend",
    "Position",
    "ask_of",
    "interest_subject",
    "messages_subject",
    "outcomes_letter",
    "outcomes_of",
    "position_letter",
    "position_of",
    "send_subject",
]


def send_subject(worker: str, name: str) -> str:
    """Where the worker that holds a connection is asked."""
    return f"send.{token(worker)}.{token(name)}"


def messages_subject(name: str) -> str:
    """Where the messages of a connection are published."""
    return f"messages.{token(name)}"


def interest_subject(name: str) -> str:
    """Where it is asked who is interested in them."""
    return f"interest.{token(name)}"


#: Where it is asked whether anybody is interested in the messages of any connection.
ANY_INTEREST: Final = "interest"


# --- What is asked ----------------------------------------------------------------------------------------------------


class AskToSend(NamedTuple):
    """Send these messages, in this order.

    Attributes:
        id: What no other request has.
        texts: For each message, whether it is a text.
        payloads: For each message, its bytes.
    """

    id: str
    texts: list[bool]
    payloads: list[bytes]

    @property
    def messages(self) -> list[str | bytes]:
        """The messages.

        Raises:
            Unreadable: If one that is to be a text is none.
        """
        try:
            return [it.decode() if is_text else it for is_text, it in zip(self.texts, self.payloads, strict=True)]
        except UnicodeDecodeError as error:
            raise Unreadable(f"a text that is none: {error.reason}") from error

    def letter(self) -> bytes:
        """It as a letter."""
        plain = {"ask": "send", "id": self.id, "texts": self.texts, "lengths": [len(it) for it in self.payloads]}
        return with_line(dumped(plain), b"".join(self.payloads))


class AskForMessages(NamedTuple):
    """Publish the messages that come from here on."""

    def letter(self) -> bytes:
        """It as a letter."""
        return dumped({"ask": "messages"})


def ask_of(letter: bytes) -> AskToSend | AskForMessages:
    """What a letter asks.

    Raises:
        Unreadable: If it is nothing that this version knows.
    """
    line, payload = line_of(letter)
    plain = loaded(line)
    if plain.get("ask") == "messages":
        return AskForMessages()
    if plain.get("ask") != "send":
        raise Unreadable(f"a request for {plain.get('ask')!r}, which this rxnodes does not know")
    with Reading("request to send"):
        lengths: list[int] = plain["lengths"]
        ends = accumulate(lengths)
        payloads = [payload[end - length : end] for length, end in zip(lengths, ends, strict=True)]
        asked = AskToSend(plain["id"], list(plain["texts"]), payloads)
    if sum(lengths) != len(payload) or len(asked.texts) != len(lengths) or min(lengths, default=0) < 0:
        raise Unreadable("the lengths of a request do not fit its payload")
    return asked


# --- What is answered -------------------------------------------------------------------------------------------------

#: The connection is not held here: nothing was done.
NOT_HELD: Final = dumped({"held": False})

_KINDS: Final[dict[str, type[SendOutcome]]] = {kind.__name__: kind for kind in (Sent, SendDropped, Unsent)}


@dataclass(frozen=True, slots=True)
class Position:
    """From where on messages are published.

    Attributes:
        session: The number of the session that is live or was last.
        attempt: The number of its last attempt.
        first: The number within it of the next message.
        kept: The sequence behind which the messages of this attempt are kept; `None`: they are not kept, but published
            for those who listen.
    """

    session: int
    attempt: int
    first: int
    kept: int | None = None


def position_letter(position: Position) -> bytes:
    """The answer to a request for messages."""
    return dumped({"held": True, **asdict(position)})


def position_of(answer: bytes) -> Position | None:
    """The answer to a request for messages; `None`: the connection is not held there.

    Raises:
        Unreadable: If it is no such answer.
    """
    plain = loaded(answer)
    with Reading("answer"):
        if not plain["held"]:
            return None
        return Position(plain["session"], plain["attempt"], plain["first"], plain.get("kept"))


def outcomes_letter(receipts: Iterable[Receipt]) -> bytes:
    """The answer to a request to send: what became of each message."""
    outcomes: list[Any] = []
    for receipt in receipts:
        shared = receipt.shared_outcome
        assert shared is not None
        outcomes.append([shared.kind.__name__, shared.session, shared.attempt, shared.at.isoformat(), shared.more])
    return dumped({"held": True, "outcomes": outcomes})


def outcomes_of(answer: bytes, name: str) -> list[SharedOutcome] | None:
    """The outcomes in the answer to a request to send; `None`: the connection is not held there, and nothing was sent.

    Raises:
        Unreadable: If it is no such answer.
    """
    plain = loaded(answer)
    with Reading("answer"):
        if not plain["held"]:
            return None
        return [
            SharedOutcome(_KINDS[kind], name, session, attempt, datetime.fromisoformat(at).astimezone(UTC), more)
            for kind, session, attempt, at, more in plain["outcomes"]
        ]
