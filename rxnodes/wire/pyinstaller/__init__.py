"""For PyInstaller, which cannot see what compiled modules import: where the hook lies that tells it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folder of the hook; PyInstaller calls this by the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
