"""What is measured, and with whom: one entry per workload."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["HELD", "WORKLOADS", "Metric", "Workload"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a workload gives.

    Attributes:
        name: What workers call it.
        title: What the table calls it.
        unit: What it counts.
    """

    name: str
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure.

    Attributes:
        title: The heading in the table.
        function: The function of each contender's module.
        contenders: Who takes part, in the order of the table.
        metrics: What is measured.
        baseline: With whom the table compares.
        options: Fields of the job.
        on_one_cpu: Whether server and client share a CPU, where the system lets us say so: a latency is then that of
            the code, and not that of waking another CPU.
        needs_server: Whether there is a server.
        in_quick: Whether `--quick` has it, and with which contenders: none means all.
        quick_options: Fields of the job with `--quick`.
    """

    title: str
    function: str
    contenders: tuple[str, ...]
    metrics: tuple[Metric, ...]
    baseline: str = "aiohttp"
    options: dict[str, object] = field(default_factory=dict[str, object])
    on_one_cpu: bool = False
    needs_server: bool = True
    in_quick: bool = True
    quick_contenders: tuple[str, ...] = ()
    quick_options: dict[str, object] = field(default_factory=dict[str, object])


RATE = (Metric("rate", "messages", "/s"),)
ECHO = (Metric("echo_p50", "p50", "µs"), Metric("echo_p99", "p99", "µs"))
LIFE = (
    Metric("open_p50", "open p50", "µs"),
    Metric("open_p99", "p99", "µs"),
    Metric("stop_p50", "stop p50", "µs"),
    Metric("stop_p99", "p99", "µs"),
)
MANY = (
    Metric("open_ms", "open all", "ms"),
    Metric("message_ns", "per message", "ns"),
    Metric("stop_ms", "stop all", "ms"),
)
#: What a connection holds, and how much of that opening it has added.
HELD = (*MANY, Metric("held_kib", "held, each", "KiB"), Metric("opened_kib", "by opening", "KiB"))

#: From so many connections on, what each holds is told: before, it is what their first one loads.
ENOUGH = 500

REQUESTS = (Metric("rate", "requests", "/s"),)

_PEERS = ("aiohttp", "aiohttp-subject", "websockets", "websocket-client", "picows", "rxjs")
_SEEN = ("rxnodes-instrumented", "rxnodes-recorded")
_ON_UVLOOP = ("rxnodes-uvloop", "aiohttp-uvloop", "picows-uvloop")
_MIB = 1024 * 1024


def _held(number: int, *more: str, in_quick: bool = False) -> Workload:
    return Workload(
        title=f"{number:,} connection{'s' * (number > 1)}, opened in waves of 100, read from, all stopped at once",
        function="connections",
        contenders=("rxnodes", "aiohttp", *more),
        metrics=HELD if number >= ENOUGH else MANY,
        options={"connections": number},
        in_quick=in_quick,
    )


def _to_subscribers(number: int, *, in_quick: bool = True) -> Workload:
    return Workload(
        title=f"Receive 32 B text, to {number} subscribers",
        function="receive",
        contenders=("rxnodes", "aiohttp-subject", "rxjs"),
        metrics=RATE,
        baseline="aiohttp-subject",
        options={"subscribers": number},
        in_quick=in_quick,
    )


WORKLOADS = {
    "receive-32": Workload(
        title="Receive 32 B text, to one subscriber",
        function="receive",
        contenders=("rxnodes", *_SEEN, "rxnodes-batched", *_PEERS, "picows-bare", *_ON_UVLOOP, "raw"),
        metrics=RATE,
        quick_contenders=("rxnodes", "rxnodes-batched", *_PEERS, "picows-bare", "raw"),
    ),
    "receive-4k": Workload(
        title="Receive 4 KiB binary",
        function="receive",
        contenders=("rxnodes", *_PEERS, "raw"),
        metrics=RATE,
        options={"size": 4096, "is_text": False},
        quick_contenders=("rxnodes", "aiohttp", "picows", "rxjs"),
    ),
    "receive-1m": Workload(
        title="Receive 1 MiB binary",
        function="receive",
        contenders=("rxnodes", *_PEERS, "raw"),
        metrics=RATE,
        options={"size": _MIB, "is_text": False},
        quick_contenders=("rxnodes", "aiohttp", "picows", "rxjs"),
    ),
    "receive-159-deflated": Workload(
        title="Receive 159 B of JSON, deflated",
        function="receive",
        contenders=("rxnodes", "aiohttp", "websockets"),
        metrics=RATE,
        options={"size": 159, "is_deflated": True},
    ),
    "receive-159-tls": Workload(
        title="Receive 159 B text over TLS",
        function="receive",
        contenders=("rxnodes", "rxnodes-uvloop", "aiohttp", "picows", "picows-uvloop"),
        metrics=RATE,
        options={"size": 159, "is_tls": True},
        quick_contenders=("rxnodes", "aiohttp", "picows"),
    ),
    "pipeline": Workload(
        title="Receive 32 B text, through map, filter, map",
        function="pipeline",
        contenders=("rxnodes", "rxnodes-batched", "aiohttp", "aiohttp-subject", "rxjs"),
        metrics=RATE,
    ),
    "subscribers-10": _to_subscribers(10, in_quick=False),
    "subscribers-100": _to_subscribers(100),
    "send": Workload(
        title="Send 32 B text, in bursts of 1,000",
        function="send",
        contenders=("rxnodes", "aiohttp", "websockets", "websocket-client", "picows", "rxjs", *_ON_UVLOOP, "raw"),
        metrics=RATE,
        quick_contenders=("rxnodes", "aiohttp", "websockets", "websocket-client", "picows", "rxjs"),
    ),
    "echo": Workload(
        title="Echo of 32 B text, one at a time",
        function="echo",
        contenders=("rxnodes", "aiohttp", "websockets", "websocket-client", "picows", "rxjs", *_ON_UVLOOP, "raw"),
        metrics=ECHO,
        options={"count": 5_000},
        on_one_cpu=True,
        quick_contenders=("rxnodes", "aiohttp", "picows", "rxjs"),
        quick_options={"count": 3_000},
    ),
    "requests-2000": Workload(
        title="Requests in JSON, 2,000 in flight (aiohttp: a dictionary of futures)",
        function="requests",
        contenders=("rxnodes", "aiohttp"),
        metrics=REQUESTS,
        options={"burst": 2_000},
        in_quick=False,
    ),
    "requests-sequential": Workload(
        title="Requests in JSON, one at a time (aiohttp: send, then receive)",
        function="requests_sequential",
        contenders=("rxnodes", "aiohttp"),
        metrics=REQUESTS,
        on_one_cpu=True,
        in_quick=False,
    ),
    "lifecycle": Workload(
        title="Start to open, and stop to really gone",
        function="lifecycle",
        contenders=("rxnodes", "aiohttp", "websockets", "websocket-client", "picows", "rxjs", *_ON_UVLOOP, "raw"),
        metrics=LIFE,
        options={"count": 800},
        on_one_cpu=True,
        quick_contenders=("rxnodes", "aiohttp", "picows", "rxjs"),
        quick_options={"count": 400},
    ),
    "connections-1": _held(1, in_quick=True),
    "connections-10": _held(10),
    "connections-100": _held(100, in_quick=True),
    "connections-500": _held(500),
    "connections-2000": _held(2_000, "websockets", "picows", in_quick=True),
    "connections-10000": _held(10_000),
    "step": Workload(
        title="Steps of the machine alone",
        function="step",
        contenders=("rxnodes",),
        metrics=(Metric("rate", "steps", "/s"),),
        baseline="",
        needs_server=False,
    ),
    "pulse": Workload(
        title="Pulses through ten client_stop that find nothing to do (reactivex: ten do_action)",
        function="pulse",
        contenders=("rxnodes", "reactivex"),
        metrics=(Metric("rate", "pulses", "/s"),),
        baseline="reactivex",
        needs_server=False,
    ),
    "pulse-gated": Workload(
        title="Pulses through ten nodes with pass_through on (reactivex: ten filter)",
        function="pulse_gated",
        contenders=("rxnodes", "reactivex"),
        metrics=(Metric("rate", "pulses", "/s"),),
        baseline="reactivex",
        needs_server=False,
        in_quick=False,
    ),
}
