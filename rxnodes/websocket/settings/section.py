"""The section of the WebSocket plugin: the connections by name."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from rxnodes.websocket.settings.connection import ConnectionSettings
from rxnodes.websocket.settings.fields import Settings
from rxnodes.websocket.settings.names import ConnectionName

__all__ = ["WebSocketSettings"]


class WebSocketSettings(Settings):
    """The section of the WebSocket plugin.

    It can also be a field of an application's own `BaseSettings`; `Project(websocket=...)` takes it as it is.

    Attributes:
        connections: The connections by name; each a URL or the fields of `ConnectionSettings`.

    Example:
        >>> settings = WebSocketSettings.model_validate({"connections": {"chat": "ws://127.0.0.1:8080/"}})
        >>> settings.connections["chat"].close_timeout
        10.0
    """

    connections: dict[ConnectionName, ConnectionSettings] = Field(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _without_inputs(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Takes the values out of errors, because a model that has this one as a field would show them."""
        try:
            return handler(value)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        hidden = [InitErrorDetails(type=_as_error(it), loc=it["loc"], input="***") for it in details]
        raise ValidationError.from_exception_data(cls.__name__, hidden, hide_input=True)


def _as_error(details: ErrorDetails) -> PydanticCustomError:
    return PydanticCustomError(
        details["type"],  # pyright: ignore[reportArgumentType] - pydantic's own, whose type is not told as literal
        details["msg"],  # pyright: ignore[reportArgumentType]
        details.get("ctx"),
    )
