"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, and what else it does.
settings.register_profile("rxnodes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rxnodes")

# A shell ignores SIGINT for what it runs in the background, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
