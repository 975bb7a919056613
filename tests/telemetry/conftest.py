"""What the tests of telemetry share."""

from __future__ import annotations

import pytest
from observed import Observed


@pytest.fixture
def observed():
    """Providers that a test instruments a project with, and what came of them."""
    return Observed()
