"""What a run was made on: figures mean little without it."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.processes import Node

__all__ = ["describe"]


def describe() -> dict[str, str]:
    """The machine, and the version of everything that takes part."""
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "CPUs": str(os.cpu_count()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for package in dict.fromkeys(contender.package for contender in CONTENDERS.values() if contender.package):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    node = Node()
    version = node.version()
    if version is not None:
        found["node"] = version
        found |= node.versions()
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
