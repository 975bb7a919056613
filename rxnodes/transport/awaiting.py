"""How a receipt is awaited. It is no part of `receipt`, since a generator that is compiled cannot await a future."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rxnodes.transport.receipts import Receipt, SendOutcome, SharedOutcome

__all__ = ["outcome_of"]


def outcome_of(
    receipt: Receipt, run_on_loop: Callable[[Callable[[], None]], None]
) -> Generator[Any, None, SendOutcome]:
    """Waits for what becomes of a message, on any event loop.

    Args:
        receipt: The message's receipt.
        run_on_loop: Runs a function on the thread of the connection's loop.
    """
    if receipt.shared_outcome is None:
        future: asyncio.Future[SharedOutcome] = asyncio.get_running_loop().create_future()
        callback = partial(_resolve, future)
        run_on_loop(lambda: receipt.follow(callback))
        try:
            shared = yield from future
            return shared.of(receipt)
        finally:
            if receipt.shared_outcome is None:
                # So that the list does not grow when a program asks again and again.
                run_on_loop(lambda: receipt.forget(callback))
    return receipt.shared_outcome.of(receipt)


def _resolve(future: asyncio.Future[SharedOutcome], shared: SharedOutcome) -> None:
    """Gives a future its result, on whatever loop it is awaited."""

    def resolve() -> None:
        if not future.done():
            future.set_result(shared)

    loop = future.get_loop()
    # If the loop has closed meanwhile, nobody waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)
