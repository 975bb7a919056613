"""Who takes part. Each module holds one function per workload, written as one would write it by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CONTENDERS", "Contender", "compiled", "with_compiled"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One that takes part.

    Attributes:
        title: What the table calls it.
        module: Where its functions are, in this package. Empty: it runs on Node.js.
        uses_uvloop: Whether it runs on uvloop instead of asyncio's own loop.
        package: The distribution whose version is told.
        is_compiled: Whether it is the compiled build of rxnodes, which another interpreter has.
    """

    title: str
    module: str
    uses_uvloop: bool = False
    package: str = ""
    is_compiled: bool = False


CONTENDERS = {
    "rxnodes": Contender("rxnodes", "nodes", package="rxnodes"),
    "rxnodes-batched": Contender("rxnodes, batched", "nodes_batched"),
    "rxnodes-instrumented": Contender("rxnodes, instrumented", "nodes_instrumented", package="opentelemetry-sdk"),
    "rxnodes-recorded": Contender("rxnodes, recorded", "nodes_recorded"),
    "rxnodes-uvloop": Contender("rxnodes on uvloop", "nodes", uses_uvloop=True, package="uvloop"),
    "aiohttp": Contender("aiohttp alone", "aiohttp_alone", package="aiohttp"),
    "aiohttp-uvloop": Contender("aiohttp alone on uvloop", "aiohttp_alone", uses_uvloop=True),
    "aiohttp-subject": Contender("aiohttp feeding a Subject", "aiohttp_subject", package="reactivex"),
    "websockets": Contender("websockets", "websockets_client", package="websockets"),
    "picows": Contender("picows", "picows_listener", package="picows"),
    "picows-uvloop": Contender("picows on uvloop", "picows_listener", uses_uvloop=True),
    "picows-bare": Contender("picows, frames not looked into", "picows_bare"),
    "websocket-client": Contender("websocket-client", "websocket_client", package="websocket-client"),
    "rxjs": Contender("RxJS on Node.js", ""),
    "raw": Contender("raw asyncio, counting bytes", "raw"),
    "reactivex": Contender("reactivex alone", "reactivex_alone", package="reactivex"),
}


def compiled(name: str) -> str:
    """The name of the compiled build of a contender of ours."""
    return f"{name}-compiled"


def with_compiled(names: Iterable[str]) -> Iterator[str]:
    """These contenders, and behind each of ours its compiled build."""
    for name in names:
        yield name
        if compiled(name) in CONTENDERS:
            yield compiled(name)


CONTENDERS |= {
    compiled(name): replace(contender, title=f"{contender.title}, compiled", package="", is_compiled=True)
    for name, contender in CONTENDERS.items()
    if name.startswith("rxnodes")
}
