"""The settings and the store of a fleet, for all commands that use one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rxnodes.errors import PluginDisabled, RxNodesError

if TYPE_CHECKING:
    from rxnodes.fleet.settings import FleetSettings
    from rxnodes.fleet.store import Store
    from rxnodes.settings import LoadedSettings

__all__ = ["ANSWER_WITHIN", "check_installed", "fleet_of", "observed_fleet", "store_of"]

#: For how many seconds `rxnodes fleet` waits for a server to answer.
ANSWER_WITHIN = 10.0


def fleet_of(loaded: LoadedSettings, url: str, folder: str) -> FleetSettings:
    """The settings of the fleet, with the servers of the command line if it has some.

    Raises:
        PluginDisabled: If the fleet is switched off.
        RxNodesError: If no servers are known, or the URL of the command line is none.
    """
    if "fleet" not in loaded.sections:
        raise PluginDisabled("fleet", loaded.switches["fleet"])
    fleet = cast("FleetSettings", loaded.sections["fleet"])
    if url:
        try:
            fleet = fleet.at(url)
        except ValueError as error:
            raise RxNodesError(f"--fleet: {error}") from None
    if not fleet.servers:
        raise RxNodesError(f"--fleet: no URL is given, and {folder}/fleet.toml has none")
    return fleet


def observed_fleet(url: str, folder: str) -> FleetSettings:
    """The settings of a fleet that is seen from outside. With a URL, it needs no settings folder.

    Raises:
        SettingsError: If the settings are not usable.
        PluginDisabled: If the fleet is switched off.
        RxNodesError: If no servers are known, or the URL of the command line is none.
    """
    from rxnodes import settings  # noqa: PLC0415 - few commands need them
    from rxnodes.project.plugin_settings import installed_plugins  # noqa: PLC0415

    plugins = installed_plugins()
    is_alone = bool(url) and not Path(folder).is_dir()
    return fleet_of(settings.from_values({}, plugins) if is_alone else settings.load(folder, plugins), url, folder)


def check_installed() -> None:
    """Checks that the client of NATS is installed.

    Raises:
        RxNodesError: If it is not.
    """
    try:
        import_module("rxnodes.fleet.nats")
    except ImportError as error:
        raise RxNodesError("a fleet needs nats-py: pip install 'rxnodes[fleet]'") from error


def store_of(fleet: FleetSettings, *, is_observer: bool, patience: float | None = None) -> Store:
    """The store of a fleet.

    Args:
        fleet: The fleet's settings.
        is_observer: Whether what is there already stays as it is.
        patience: Seconds for the servers to answer while it is opened; `None`: as long as it takes.

    Raises:
        RxNodesError: If the client of NATS is not installed.
    """
    check_installed()
    from rxnodes.fleet.nats import nats_store  # noqa: PLC0415 - an extra

    assert fleet.url is not None
    return nats_store(
        fleet.url.get_secret_value(),
        fleet=fleet.name,
        credentials=fleet.credentials,
        tls=None if fleet.tls is None else fleet.tls.context(),
        lease=fleet.lease,
        history=fleet.history,
        replicas=fleet.replicas,
        is_observer=is_observer,
        keeps=bool(fleet.messages),
        patience=patience,
    )
