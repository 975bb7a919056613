"""rxnodes with a recorder that writes to a file, without payloads."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import nodes
from rxnodes.recording import Recorder

if TYPE_CHECKING:
    from benchmarks.job import Job, Metrics


async def receive(job: Job) -> Metrics:
    """Counts messages, in so many subscribers."""
    with tempfile.TemporaryDirectory() as folder:
        return await nodes.receive(job, lambda project: Recorder(project, Path(folder, "run.jsonl")))
