"""Names the modules that compiled ones import. PyInstaller runs this for each program that uses `rxnodes.wire`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files

from PyInstaller.utils.hooks import collect_submodules  # pyright: ignore[reportMissingModuleSource] - it is what runs this

try:
    # mypyc puts the code of all modules that it compiles into one module of its own, beside the package.
    shared = [path.name.partition(".")[0] for path in files("rxnodes") or () if "__mypyc." in path.name]
except PackageNotFoundError:
    # The package is not installed: a copy of its source is used.
    shared = []

#: The packages that have compiled modules.
ROOMS = ("rxnodes.connection", "rxnodes.transport", "rxnodes.wire")

hiddenimports = [*(module for room in ROOMS for module in collect_submodules(room)), *shared]
if shared:
    hiddenimports.append("librt.strings")
