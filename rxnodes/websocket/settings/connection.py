"""One connection: its fields, and their form for the rest of rxnodes."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import quote, unquote_plus

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rxnodes.codecs import CODEC_NAMES, Codec, as_codec
from rxnodes.connection.before_connect import ConnectOptions, Preparation
from rxnodes.connection.greeting import Login
from rxnodes.lifecycle.policy import Policy
from rxnodes.lifecycle.secret_text import SecretText
from rxnodes.settings.problems import explained
from rxnodes.transport.base import Cookies, Target
from rxnodes.websocket.settings.fields import MIB, Number, OrNone, Seconds, SecondsOrNone, Settings, is_none, shared
from rxnodes.websocket.settings.names import HeaderName, HeaderValue, QueryName, QueryValue, SubprotocolName
from rxnodes.websocket.settings.reconnect import ReconnectSettings
from rxnodes.websocket.settings.route import (
    ENVIRONMENT,
    Environment,
    LocalAddress,
    ProxyOrNone,
    UnixSocket,
    address_of,
    proxy_of_environment,
)
from rxnodes.websocket.settings.send_queue import SendQueueSettings
from rxnodes.websocket.settings.tls import TlsSettings
from rxnodes.websocket.settings.url import (
    Url,
    after_mark,
    credentials_of,
    encoded,
    redacted,
    sendable_host,
    split_url,
    userinfo_of,
)
from rxnodes.wire.tunnel import Proxy

__all__ = ["ConnectionSettings"]

#: Shared by all connections without headers of their own.
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def _codec(value: Any) -> Codec[Any] | None:
    """The codec that a value names or is."""
    if is_none(value):
        return None
    names = " or ".join(f'"{name}"' for name in CODEC_NAMES)
    try:
        return as_codec(value)
    except TypeError:
        problem = f'must be {names} (or "none"); in Python also a type, a pair of functions or a Codec'
    except ValueError as error:
        problem = str(error) if value in CODEC_NAMES else f'must be {names} (or "none")'
    raise ValueError(problem)


def _merged(own: Mapping[str, SecretStr], more: object, *, key: Callable[[str], str] = str) -> object:
    """Both tables together; `more` wins. If `more` is no mapping, it is returned, for validation to refuse it."""
    if not isinstance(more, Mapping):
        return more
    given: Mapping[Any, Any] = more  # pyright: ignore[reportUnknownVariableType]
    replaced = {key(name) for name in given if isinstance(name, str)}
    return {**{name: value for name, value in own.items() if key(name) not in replaced}, **given}


class ConnectionSettings(Settings):
    """One connection. A plain URL stands for a connection with that `url` and nothing else set.

    Attributes:
        url: `ws://` or `wss://`, a host, and optionally user:password@, a port, a path and a query; no fragment.
        port: Overrides the URL's port; from 1 to 65535. `None`: the URL's, or else 80 for ws and 443 for wss.
        subprotocols: Offered to the server, the preferred first (RFC 6455 section 1.9).
        headers: Extra headers of the handshake; the values are secret.
        query: Joins the URL's query, and wins over values of the same name there; the values are secret.
        connect_timeout: The limit for one attempt, in seconds, from 0.001 to one day; `None`: no limit.
        close_timeout: The limit from the beginning of any closing to its end, in seconds, from 0.001 to one day.
        heartbeat: Seconds between pings, from 0.001 to one day. A peer that sends nothing for half as many seconds
            after a ping is given up. `None`: no heartbeat.
        silence_timeout: A peer that sends no message for so many seconds is given up, even if it answers pings; from
            0.001 to one day. `None`: no limit.
        max_message_size: The most bytes in one message, from 1 to 1 GiB; `None`: no limit.
        max_header_size: The most bytes in the head of the server's answer to the handshake, from 1 to 1 GiB.
        send_queue: The bounds of the messages that wait to be sent.
        compression: Whether permessage-deflate (RFC 7692) is offered.
        codec: Writes and reads the messages of nodes that name no codec: "json" or "msgpack"; in Python any codec. If
            it is `None`, messages stay as they are.
        proxy: The URL of a proxy that makes a tunnel to the server: `http://` (by CONNECT, for ws and wss), `socks5://`
            or `socks5h://` (the proxy looks names up), optionally with user:password@; or "environment": what
            HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say. `None`: none, whatever the environment says.
        unix_socket: The path of a socket to connect to, in place of TCP to the URL's host.
        local_address: The IP address to connect from, and perhaps the port: "192.0.2.1:5000", "[2001:db8::1]:5000".
        cookies: Whether cookies of one handshake's answer go out with the next attempts of this connection.
        tls: For a `wss` URL: whom to trust, and the client's certificate; in Python also an `ssl.SSLContext`.
        reconnect: When another attempt follows.
        before_connect: A coroutine function asked before each attempt; only in Python.
        after_connect: A coroutine function that logs in on each attempt before it counts as open; only in Python.
    """

    shorthand: ClassVar[str] = "url"

    url: Url
    port: Annotated[int | None, BeforeValidator(Number(1, 65535, whole=True, optional=True))] = None
    subprotocols: tuple[SubprotocolName, ...] = ()
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, json_schema_extra={"env_separator": "-"})
    query: dict[QueryName, QueryValue] = Field(default_factory=dict)
    connect_timeout: SecondsOrNone = 10.0
    close_timeout: Seconds = 10.0
    heartbeat: SecondsOrNone = 20.0
    silence_timeout: SecondsOrNone = None
    max_message_size: Annotated[
        int | None, BeforeValidator(Number(1, 1024 * MIB, whole=True, unit="bytes", optional=True))
    ] = MIB
    max_header_size: Annotated[int, BeforeValidator(Number(1, 1024 * MIB, whole=True, unit="bytes"))] = 64 * 1024
    send_queue: SendQueueSettings = SendQueueSettings()
    compression: bool = False
    codec: Annotated[Any, BeforeValidator(_codec)] = None
    proxy: ProxyOrNone = None
    unix_socket: Annotated[UnixSocket | None, OrNone] = None
    local_address: Annotated[LocalAddress | None, OrNone] = None
    cookies: bool = False
    tls: Annotated[TlsSettings | None, OrNone] = None
    reconnect: ReconnectSettings = ReconnectSettings()
    before_connect: Callable[..., Any] | None = Field(default=None, repr=False)
    after_connect: Callable[..., Any] | None = Field(default=None, repr=False)

    # One store for all attempts, also for those that a hook leads elsewhere.
    _cookies: Cookies | None = PrivateAttr(default=None)

    def model_post_init(self, _context: Any) -> None:
        """Makes the store of cookies."""
        if self.cookies:
            self._cookies = Cookies()

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {cls.shorthand: value} if isinstance(value, str | SecretStr) else value

    @field_validator("subprotocols")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must not name a subprotocol twice")
        return value

    @field_validator("headers")
    @classmethod
    def _without_conflicts(cls, value: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        names = {name.lower() for name in value}
        if len(names) < len(value):
            raise ValueError("must not hold a header twice; upper and lower case are the same")
        url: SecretStr | None = info.data.get("url")
        if "authorization" in names and url is not None and userinfo_of(split_url(url.get_secret_value())):
            raise ValueError("must not hold Authorization beside a url with user:password@, which sets it too")
        return value

    @field_validator("tls")
    @classmethod
    def _only_with_wss(cls, value: TlsSettings | None, info: ValidationInfo) -> TlsSettings | None:
        url: SecretStr | None = info.data.get("url")
        if value is not None and url is not None and split_url(url.get_secret_value()).scheme != "wss":
            raise ValueError("needs a url with wss://")
        return value

    @field_validator("proxy")
    @classmethod
    def _usable_now(cls, value: Proxy | Environment | None, info: ValidationInfo) -> Proxy | Environment | None:
        """Reads the environment at once, so that an unusable proxy is reported together with all other problems."""
        url: SecretStr | None = info.data.get("url")
        if value == ENVIRONMENT and url is not None:
            proxy_of_environment(split_url(url.get_secret_value()), info.data.get("port"))
        return value

    @field_validator("unix_socket", "local_address")
    @classmethod
    def _one_route(cls, value: Any, info: ValidationInfo) -> Any:
        other = "proxy" if info.field_name == "unix_socket" else "unix_socket"
        if value is not None and info.data.get(other) is not None:
            raise ValueError(f"must not be set beside {other}")
        return value

    def policy(self) -> Policy:
        """The timeouts and the rules of reconnection, as the lifecycle takes them."""
        return shared(
            Policy(
                connect_timeout=self.connect_timeout,
                close_timeout=self.close_timeout,
                reconnect=self.reconnect.policy(),
            )
        )

    def preparation(self) -> Preparation | None:
        """The hook that runs before each dial."""
        if self.before_connect is None:
            return None
        return Preparation(hook=self.before_connect, retarget=self.retarget)

    def login(self) -> Login | None:
        """The hook that logs in on each attempt, before that counts as open."""
        return None if self.after_connect is None else Login(hook=self.after_connect, codec=self.codec)

    def retarget(self, options: ConnectOptions) -> Target:
        """Where to connect to, and how, with a hook's options on top of the settings.

        Raises:
            ValueError: If the options cannot be used. The text holds no secret.
        """
        values = {name: getattr(self, name) for name in self.model_fields_set}
        values["headers"] = _merged(self.headers, options.headers, key=str.lower)
        values["query"] = _merged(self.query, options.query)
        if options.subprotocols is not None:
            values["subprotocols"] = options.subprotocols
        if options.url is not None:
            # Its own port counts, or that of its scheme, and not the one in the settings.
            values |= {"url": options.url, "port": None}
        try:
            target = ConnectionSettings.model_validate(values).target()
            given = tuple(it if it in self.subprotocols else SecretText(it) for it in target.subprotocols)
            return replace(target, subprotocols=given, cookies=self._cookies)
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(part) for part in details['loc'] if part != '[key]')}: {explained(details)}"
                for details in error.errors(include_input=False)
            ]
        raise ValueError("; ".join(problems))

    def target(self) -> Target:
        """Where to connect to, and how."""
        parts = split_url(self.url.get_secret_value())
        host = sendable_host(parts)
        number = parts.port if self.port is None else self.port
        port = "" if number is None else f":{number}"
        address = f"{parts.scheme}://{host}{port}"
        # Without a query, this one object is both URLs.
        base = address + (encoded(parts.path) or "/")
        pieces = self._query_pieces(parts.query)
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if (credentials := credentials_of(parts)) is not None:
            headers["Authorization"] = f"Basic {credentials}"
        if "%" in host and not any(name.lower() == "host" for name in headers):
            # RFC 6874 section 4: the name of an interface means nothing to the server.
            headers["Host"] = f"{host.partition('%')[0]}]{port}"
        return Target(
            url=base + after_mark("&".join(pieces)),
            redacted_url=base + after_mark("&".join(map(redacted, pieces))),
            headers=headers or NO_HEADERS,
            subprotocols=self.subprotocols,
            heartbeat=self.heartbeat,
            silence_timeout=self.silence_timeout,
            max_message_size=self.max_message_size,
            max_header_size=self.max_header_size,
            send_queue=shared(self.send_queue.queue()),
            compression=self.compression,
            tls=self.tls.context if self.tls else None,
            server_hostname=self.tls.server_hostname if self.tls else None,
            proxy=proxy_of_environment(parts, self.port) if self.proxy == ENVIRONMENT else self.proxy,
            unix_socket=None if self.unix_socket is None else str(self.unix_socket),
            local_address=None if self.local_address is None else address_of(self.local_address),
            cookies=self._cookies,
        )

    def _query_pieces(self, in_url: str) -> list[str]:
        """The whole query, split at each "&". The URL's own pieces stay as they are, also empty ones."""
        given = in_url.split("&") if in_url else []
        kept = [encoded(piece) for piece in given if unquote_plus(piece.partition("=")[0]) not in self.query]
        added = [
            f"{quote(name, safe='')}={quote(value.get_secret_value(), safe='')}" for name, value in self.query.items()
        ]
        return kept + added
