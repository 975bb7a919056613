"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell ignores SIGINT for what it runs in the background, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
