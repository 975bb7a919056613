"""Arguments that cannot be are refused where the call is made, and not where they would first be used."""

from __future__ import annotations

import inspect
import operator
from typing import Any

from reactivex import Observable

__all__ = ["UNSET", "check_callback", "check_count", "check_observable"]


class _Unset:
    """What an argument is that is not given, where `None` means something."""

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Any = _Unset()


def check_callback(name: str, value: Any, *, gives: str, is_optional: bool = False) -> None:
    """Refuses what cannot be called, and coroutine functions, which nobody would await.

    Args:
        name: What the argument is called.
        value: What was given.
        gives: What it is to say or make.
        is_optional: Whether `None` may be given.

    Raises:
        TypeError: If it is no plain function.
    """
    if value is None and is_optional:
        return
    if not callable(value):
        raise TypeError(f"{name} must be a function that gives {gives}, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function that gives {gives}: a coroutine function is not awaited here")


def check_count(name: str, value: Any, *, least: int) -> int:
    """The whole number that was given.

    Raises:
        TypeError: If it is none.
        ValueError: If it is too small.
    """
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}") from None
    if count < least:
        raise ValueError(f"{name} must be {least} or more, not {count}")
    return count


def check_observable(name: str, value: object) -> None:
    """Refuses what is no observable.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, Observable):
        hint = ": an operator stands within the .pipe(...) of an observable" if callable(value) else ""
        raise TypeError(f"{name} takes observables, not {type(value).__name__}{hint}")
