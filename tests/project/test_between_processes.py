"""What is raised and told survives pickle and copy, and the way from one process to another (design section 3)."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
from samples import contents, exceptions, fail, give, public, sample

from rxnodes import LifecycleEvent, RxNodesError, SendOutcome, SettingsError

EVENTS = [kind for kind in public(LifecycleEvent) if kind is not LifecycleEvent]
OUTCOMES = list(SendOutcome.__args__)

WAYS = {
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))  # noqa: S301
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_there_are_some_of_each():
    assert SettingsError in public(RxNodesError)
    assert len(EVENTS) >= 6
    assert len(OUTCOMES) == 3


@pytest.mark.parametrize("way", WAYS)
def test_exceptions_come_out_as_they_went_in(way):
    errors = [*exceptions(), Refused("room", because="full")]
    assert [contents(WAYS[way](error)) for error in errors] == [contents(error) for error in errors]


@pytest.mark.parametrize("way", WAYS)
def test_events_come_out_as_they_went_in(way):
    values = [sample(kind) for kind in (*EVENTS, *OUTCOMES)]
    assert [contents(WAYS[way](value)) for value in values] == [contents(value) for value in values]


class Refused(RxNodesError):  # noqa: N818
    """A user's own. Its constructor takes what its `args` do not hold."""

    def __init__(self, room, *, because):
        self.room = room
        super().__init__(f"{room} refused: {because}")


@pytest.mark.slow
def test_they_pass_through_an_executor_and_a_pool():
    """What could not be unpickled broke the executor, and let the pool wait for ever."""
    context = multiprocessing.get_context("spawn")
    errors, events = exceptions(), [sample(kind) for kind in EVENTS]
    with ProcessPoolExecutor(1, mp_context=context) as executor, context.Pool(1) as pool:
        raised = [executor.submit(fail, error).exception(60) for error in errors]
        told = [executor.submit(give, event).result(60) for event in events]
        for error, from_executor in zip(errors, raised, strict=True):
            assert contents(from_executor) == contents(error)
            with pytest.raises(type(error)) as from_pool:
                pool.apply_async(fail, (error,)).get(60)
            assert contents(from_pool.value) == contents(error)
        assert contents_of_all(told) == contents_of_all(events)


def contents_of_all(values):
    return [contents(value) for value in values]
