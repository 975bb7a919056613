"""Awaiting a receipt. It stands apart from `receipt`, because a generator that is compiled cannot await a future."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from rxnodes.rx.event_loops import call_on

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rxnodes.transport.receipts import Receipt, SendOutcome, SharedOutcome

__all__ = ["outcome_of"]


def outcome_of(
    receipt: Receipt, run_on_loop: Callable[[Callable[[], None]], None]
) -> Generator[Any, None, SendOutcome]:
    """Waits for the outcome of a message, on any event loop.

    Args:
        receipt: The message's receipt.
        run_on_loop: Runs a function on the thread of the connection's loop.
    """
    if receipt.shared_outcome is None:
        future: asyncio.Future[SharedOutcome] = asyncio.get_running_loop().create_future()
        callback = partial(call_on, future.get_loop(), _resolve, future)
        run_on_loop(lambda: receipt.follow(callback))
        try:
            shared = yield from future
            return shared.of(receipt)
        finally:
            if receipt.shared_outcome is None:
                # So that the list does not grow when a program waits again and again.
                run_on_loop(lambda: receipt.forget(callback))
    return receipt.shared_outcome.of(receipt)


def _resolve(future: asyncio.Future[SharedOutcome], shared: SharedOutcome) -> None:
    if not future.done():
        future.set_result(shared)
