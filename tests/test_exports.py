"""The public names are those of the design."""

from __future__ import annotations

import importlib

import pytest

import rxnodes
import rxnodes.websocket

NAMES = {
    "rxnodes": """
        Project Scope Connection ConnectionState Initiator CloseCode Trigger pulse __version__
        LifecycleEvent Connecting Opened Dropped Closing Stopped ErrorEvent
        RxNodesError SettingsError UnknownConfiguration PluginDisabled ConnectError ConnectionLost SendError
        DecodeError ProtocolError CloseTimeout HandlerError HolderLost SendUnknown RequestTimeout run Attempt BeforeConnect ConnectOptions GiveUp
        AfterConnect Greeting
        Codec Scene
        Receipt SendOutcome Sent SendDropped Unsent
        map_async for_each_async holding aiter_observable ObservableIterator Drops BufferOverflow
    """,
    "rxnodes.recording": "Recorder Recording Recorded record Entry Message Messages Pulse LeftOut",
    "rxnodes.websocket": """
        client_start client_send client_stop on_start on_receive on_stop on_error all_stopped until_stopped
        request request_stream expect channel on_gap Gap messages holding
    """,
    "rxnodes.inspector": "Inspector",
    "rxnodes.fleet": "Fleet FleetSettings RemoteConnection",
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_are_those_of_the_design(module):
    assert set(importlib.import_module(module).__all__) == set(NAMES[module].split())


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there(module):
    it = importlib.import_module(module)
    assert all(getattr(it, name) is not None for name in it.__all__)
    assert set(it.__all__) <= set(dir(it))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rxnodes.nonsense  # noqa: B018


def test_every_exception_is_below_one():
    errors = importlib.import_module("rxnodes.errors")
    assert all(issubclass(getattr(errors, name), rxnodes.RxNodesError) for name in errors.__all__)
    assert issubclass(rxnodes.UnknownConfiguration, LookupError)
    assert issubclass(rxnodes.RequestTimeout, TimeoutError)


def test_the_version_is_the_packages():
    assert rxnodes.__version__.count(".") == 2
