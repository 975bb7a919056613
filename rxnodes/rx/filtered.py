"""A filter over a hot stream by type. On WebSocket Start, Stop and Error are such filters over `lifecycle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from rxnodes.rx.streams import IsolatedSubject

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import Observable

    from rxnodes.rx.streams import Subscription

__all__ = ["Filtered"]

T = TypeVar("T")


class Filtered(IsolatedSubject[T]):
    """A hot stream of those values of an isolated subject that are of one type.

    Its subscribers subscribe to the subject itself, each with a check of the type. So they are isolated and ordered as
    all others are, and the stream costs nothing while nobody subscribes.

    Example:
        >>> from rxnodes.rx.streams import IsolatedSubject, log_for
        >>> numbers = IsolatedSubject[object](log_for("numbers"))
        >>> subscription = Filtered(numbers, int).subscribe(print)
        >>> for value in ("one", 1, None, 2):
        ...     numbers.on_next(value)
        1
        2
    """

    def __init__(self, source: Observable[Any], kind: type[T]) -> None:
        subject = cast("IsolatedSubject[Any]", source)
        super().__init__(subject._report, subject.lock)  # noqa: SLF001 - our own
        self._source = subject
        self._kind = kind

    def attach(self, subscription: Subscription) -> None:
        """Adds a subscriber to the source, with the check."""
        subscription.on_next = _OfKind(self._kind, subscription.on_next)
        subscription.stream = self._source
        self._source.attach(subscription)

    @property
    def is_observed(self) -> bool:
        """Whether anybody sees values of this type. Subscribers of the whole source see them, too."""
        subscribers = (subscription.on_next for subscription in self._source._subscriptions)  # noqa: SLF001
        return any(not isinstance(it, _OfKind) or issubclass(self._kind, it.kind) for it in subscribers)

    @property
    def is_stopped(self) -> bool:
        """Whether the source has completed."""
        return self._source.is_stopped


class _OfKind:
    """The `on_next` of a subscriber, with a check of the type."""

    __slots__ = ("kind", "on_next")

    def __init__(self, kind: type[Any], on_next: Callable[[Any], object]) -> None:
        self.kind = kind
        self.on_next = on_next

    def __call__(self, value: object) -> None:
        if isinstance(value, self.kind):
            self.on_next(value)
