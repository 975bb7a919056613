"""rxnodes measured side by side with what a user would pick instead; and long runs that look for what breaks."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
