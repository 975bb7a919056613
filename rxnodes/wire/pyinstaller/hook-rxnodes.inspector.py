"""Adds the files of the inspector's page, which are not modules, to a program that PyInstaller makes."""

from PyInstaller.utils.hooks import collect_data_files  # pyright: ignore[reportMissingModuleSource] - as its neighbour

datas = collect_data_files("rxnodes.inspector")
