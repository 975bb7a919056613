"""What a command makes of a connection's wish.

Workers and observers decide by these functions alike, each from the record and from the tail of the log. The wish is
then written by compare-and-set on the record. What is known of the log may be old when something is written: no session
begins that the record does not ask for, and one that ends fulfils only the wish that its holder knew. Where nothing is
to be written, look at both anew first: what was known may have been old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.rules.values import Wish

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Tail

__all__ = ["is_live", "is_wanted", "start", "stop"]


def is_wanted(wish: Wish, tail: Tail) -> bool:
    """Whether a session is asked for: the live one, or one that is to begin."""
    return wish.run and tail.fulfilled != wish.id


def is_live(wish: Wish, tail: Tail) -> bool:
    """Whether the connection counts as live for those who gave the wish: a session is, or is still to begin."""
    return tail.is_live or is_wanted(wish, tail)


def start(wish: Wish, tail: Tail, id: str) -> Wish | None:  # noqa: A002 - as the field
    """The wish once a session is to begin, or to go on.

    While a session is closing, the next one begins behind it.

    Args:
        wish: The record's wish.
        tail: The last entry of the log that is known.
        id: The command's id, which no other has.

    Returns:
        The wish to write; `None`: one is wanted already.

    Example:
        >>> from rxnodes.fleet.rules.values import Tail
        >>> start(Wish(), Tail(session=3), "a")
        Wish(run=True, after=3, code=1000, reason='', id='a')
        >>> closing = Tail(session=4, is_live=True)
        >>> start(Wish(run=False, after=4, code=4000, id="b"), closing, "c")
        Wish(run=True, after=4, code=4000, reason='', id='c')
    """
    if is_wanted(wish, tail):
        return None
    return Wish(run=True, after=max(tail.session, wish.after), code=wish.code, reason=wish.reason, id=id)


def stop(wish: Wish, tail: Tail, id: str, *, code: int = 1000, reason: str = "") -> Wish | None:  # noqa: A002
    """The wish once no session is wanted.

    Args:
        wish: The record's wish.
        tail: The last entry of the log that is known.
        id: The command's id, which no other has.
        code: The code of the Close frame; `ABORT`: no closing handshake.
        reason: The reason in it.

    Returns:
        The wish to write; `None`: none is wanted already.

    Example:
        >>> from rxnodes.fleet.rules.values import Tail
        >>> stop(Wish(run=True, after=3, id="c"), Tail(session=4, is_live=True), "d", code=4000)
        Wish(run=False, after=4, code=4000, reason='', id='d')
    """
    if not is_wanted(wish, tail):
        return None
    return Wish(run=False, after=max(tail.session, wish.after), code=code, reason=reason, id=id)
