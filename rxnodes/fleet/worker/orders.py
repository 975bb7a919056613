"""Takes what a worker is asked to do as a whole, such as by `rxnodes fleet drain`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rxnodes.fleet.letters import Unreadable
from rxnodes.fleet.ordering import TAKEN, Leave, order_of, order_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxnodes.fleet.store import Request, Store

__all__ = ["Orders"]

logger = logging.getLogger("rxnodes")


class Orders:
    """Takes orders to one worker, from when it has joined until it has no lease any more.

    Args:
        store: The fleet's store.
        worker: The worker's id.
        leave: Has it drain, and leave the fleet.
        let_go: Has it let connections go.
    """

    def __init__(
        self, store: Store, worker: str, leave: Callable[[], None], let_go: Callable[[Iterable[str]], None]
    ) -> None:
        self._worker = worker
        self._leave = leave
        self._let_go = let_go
        self._watch = store.serve(order_subject(worker), self._on_request)

    def close(self) -> None:
        """Takes none any more."""
        self._watch.close()

    def _on_request(self, request: Request) -> None:
        try:
            order = order_of(request.message.payload)
        except Unreadable as error:
            logger.warning("an order to this worker cannot be read: %s", error)
            return
        # First, because draining may end what carries the answer.
        request.answer(TAKEN)
        if isinstance(order, Leave):
            logger.info("worker %s is asked to leave its fleet", self._worker)
            self._leave()
        else:
            self._let_go(order.names)
