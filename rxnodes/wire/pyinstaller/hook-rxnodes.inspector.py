"""What PyInstaller is told of `rxnodes.inspector`: the page is made of files that are no modules."""

from PyInstaller.utils.hooks import collect_data_files  # pyright: ignore[reportMissingModuleSource] - as its neighbour

datas = collect_data_files("rxnodes.inspector")
