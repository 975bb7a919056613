"""Tells PyInstaller where our hooks are. They name the imports of compiled modules, which PyInstaller cannot see."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Gives the folder of the hooks. PyInstaller calls this by the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
