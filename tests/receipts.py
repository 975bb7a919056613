"""Messages on their way out, without a connection."""

from __future__ import annotations

from rxnodes.transport.receipts import Receipt


def receipt(payload, *, is_text=True):
    return Receipt(None, payload, is_text, None)
