"""What belongs to the wire of rxnodes, whichever build is installed. PyInstaller runs this where a program uses it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files

from PyInstaller.utils.hooks import collect_submodules  # pyright: ignore[reportMissingModuleSource] - it is what runs this

try:
    # mypyc puts the code of all modules that it compiles into one module of its own, beside the package.
    shared = [path.name.partition(".")[0] for path in files("rxnodes") or () if "__mypyc." in path.name]
except PackageNotFoundError:
    # A copy, of the source.
    shared = []

#: The rooms in which modules are compiled.
ROOMS = ("rxnodes.connection", "rxnodes.transport", "rxnodes.wire")

hiddenimports = [*(module for room in ROOMS for module in collect_submodules(room)), *shared]
if shared:
    hiddenimports.append("librt.strings")
