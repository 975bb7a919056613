"""Checks of arguments. A wrong one raises where it is given, and not later, where it is first used."""

from __future__ import annotations

import inspect
import operator
from typing import Any

from reactivex import Observable

__all__ = ["UNSET", "check_callback", "check_count", "check_disposable", "check_flag", "check_observable"]


class _Unset:
    """The default of an argument for which `None` has a meaning of its own."""

    def __repr__(self) -> str:
        return "<not given>"


UNSET: Any = _Unset()


def check_callback(name: str, value: Any, *, gives: str, is_optional: bool = False) -> None:
    """Checks that an argument is a plain function, and not a coroutine function, which nobody would await.

    Raises:
        TypeError: If it is not a plain function. The text says what the function `gives`.
    """
    if value is None and is_optional:
        return
    if not callable(value):
        raise TypeError(f"{name}: expected a function that returns {gives}, got {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(
            f"{name}: expected a plain function that returns {gives}, got a coroutine function, which is never awaited"
        )


def check_count(name: str, value: Any, *, least: int) -> int:
    """Returns an argument that is an integer.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is less than `least`.
    """
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}") from None
    if count < least:
        raise ValueError(f"{name}: expected {least} or more, got {count}")
    return count


def check_flag(name: str, value: object, *, is_optional: bool = False) -> None:
    """Checks that an argument is a `bool`, since another value, such as "no", would count as true.

    Raises:
        TypeError: If it is not a `bool`, nor `None` if the argument `is_optional`.
    """
    if not (isinstance(value, bool) or (value is None and is_optional)):
        wanted = "True, False or None" if is_optional else "True or False"
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def check_disposable(name: str, value: object) -> None:
    """Checks that an argument can be disposed.

    Raises:
        TypeError: If it has no `dispose`.
    """
    if not callable(getattr(value, "dispose", None)):
        raise TypeError(f"{name}: expected a disposable, such as a subscription, got {type(value).__name__}")


def check_observable(name: str, value: object) -> None:
    """Checks that an argument is an observable.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, Observable):
        hint = "; an operator goes into the .pipe(...) of an observable" if callable(value) else ""
        raise TypeError(f"{name}: expected an observable, got {type(value).__name__}{hint}")
