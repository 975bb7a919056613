"""An application with settings of its own on pydantic-settings nests ours."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rxnodes import PluginDisabled, Project
from rxnodes.websocket.settings import WebSocketSettings

SECRET = "hunter2"  # noqa: S105 - planted, to be looked for
CHAT = "APP_WEBSOCKET__CONNECTIONS__CHAT"


class AppSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

    name: str = "app"
    websocket: WebSocketSettings = WebSocketSettings()


@pytest.fixture
def app(monkeypatch):
    def load(**environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return AppSettings()

    return load


def test_without_variables_there_are_no_connections(app):
    assert Project(websocket=app().websocket).configurations == ()


def test_variables_set_the_fields_of_a_connection(app):
    settings = app(
        **{
            f"{CHAT}__URL": "wss://h/",
            f"{CHAT}__CLOSE_TIMEOUT": "2.5",
            f"{CHAT}__HEARTBEAT": "off",
            f"{CHAT}__SUBPROTOCOLS": '["a", "b"]',
            f"{CHAT}__RECONNECT__ENABLED": "true",
            f"{CHAT}__RECONNECT__FINAL_CODES": "[4000]",
            f"{CHAT}__TLS__VERIFY": "false",
            "APP_WEBSOCKET__CONNECTIONS__FEED": "ws://feed/",
        }
    )
    chat = settings.websocket.connections["chat"]
    assert (chat.close_timeout, chat.heartbeat, chat.subprotocols) == (2.5, None, ("a", "b"))
    assert (chat.reconnect.enabled, chat.reconnect.final_codes, chat.tls.verify) == (True, {4000}, False)
    assert Project(websocket=settings.websocket).configurations == ("chat", "feed")


def test_headers_and_query_have_names_from_variables(app):
    settings = app(
        **{
            f"{CHAT}__URL": "ws://h/",
            f"{CHAT}__HEADERS": '{"X-Api-Key": "1"}',
            f"{CHAT}__HEADERS__AUTHORIZATION": "2",
            f"{CHAT}__QUERY__ACCESS_TOKEN": "3",
        }
    )
    target = settings.websocket.connections["chat"].target()
    assert target.headers == {"X-Api-Key": "1", "authorization": "2"}
    assert target.url == "ws://h/?access_token=3"


def test_secrets_stay_secret(app):
    settings = app(
        **{
            f"{CHAT}__URL": f"wss://u:{SECRET}@h/?t={SECRET}",
            f"{CHAT}__HEADERS__X": SECRET,
            f"{CHAT}__QUERY__Q": SECRET,
        }
    )
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("URL", f"http://{SECRET}/", "websocket.connections.chat.url\n  Value error, must begin with ws:// or wss://"),
        ("URI", SECRET, "websocket.connections.chat.uri\n  Extra inputs are not permitted"),
        (
            "HEADERS__X",
            f"{SECRET}\n",
            "websocket.connections.chat.headers.x\n  Value error, must not contain line breaks",
        ),
        (
            "HEADERS__UPGRADE",
            SECRET,
            "websocket.connections.chat.headers.upgrade.[key]\n  Value error, cannot be set here",
        ),
        (
            "CLOSE_TIMEOUT",
            SECRET,
            "websocket.connections.chat.close_timeout\n  Value error, must be a number of seconds",
        ),
        (
            "RECONNECT__ENABLED",
            SECRET,
            "websocket.connections.chat.reconnect.enabled\n  Input should be a valid boolean",
        ),
    ],
)
def test_an_error_shows_no_value(app, variable, value, said):
    with pytest.raises(ValidationError) as caught:
        app(**{f"{CHAT}__URL": f"ws://h/?t={SECRET}", f"{CHAT}__{variable}": value})
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.errors())


def test_an_application_that_lacks_a_url_hears_so_and_no_value(app):
    with pytest.raises(ValidationError, match=r"connections.chat.url\n  Field required") as caught:
        app(**{f"{CHAT}__HEADERS__X": SECRET})
    assert SECRET not in str(caught.value)


def test_a_project_takes_the_settings_as_they_are():
    settings = WebSocketSettings.model_validate({"connections": {"chat": "ws://h/"}})
    assert Project(websocket=settings).websocket("chat").name == "chat"


def test_a_plugin_that_is_off_stays_off():
    project = Project(websocket=WebSocketSettings(), plugins={"websocket": False})
    with pytest.raises(PluginDisabled):
        project.websocket("chat")
