"""Takes what a worker is asked to do as a whole, such as by `rxnodes fleet drain`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rxnodes.fleet.letters import Unreadable
from rxnodes.fleet.ordering import TAKEN, Leave, order_of, order_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxnodes.fleet.store import Request, Store, Watch

__all__ = ["take_orders"]

logger = logging.getLogger("rxnodes")


def take_orders(store: Store, worker: str, leave: Callable[[], None], let_go: Callable[[Iterable[str]], None]) -> Watch:
    """Takes orders to one worker, until the watch is closed.

    Args:
        store: The fleet's store.
        worker: The worker's id.
        leave: Has it drain, and leave the fleet.
        let_go: Has it let connections go.
    """

    def on_request(request: Request) -> None:
        try:
            order = order_of(request.message.payload)
        except Unreadable as error:
            logger.warning("an order to this worker cannot be read: %s", error)
            return
        # First, because draining may end what carries the answer.
        request.answer(TAKEN)
        if isinstance(order, Leave):
            logger.info("worker %s is asked to leave its fleet", worker)
            leave()
        else:
            let_go(order.names)

    return store.serve(order_subject(worker), on_request)
