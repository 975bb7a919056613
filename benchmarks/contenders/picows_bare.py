"""picows with a listener that looks into no frame: what its parser alone can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.contenders.picows_listener import Receiver, count_with

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport

    from benchmarks.job import Job, Metrics


class BareReceiver(Receiver):
    """Counts frames."""

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.counter.on_next(frame)


async def receive(job: Job) -> Metrics:
    """Counts frames."""
    return await count_with(BareReceiver(is_text=job.is_text), job)
