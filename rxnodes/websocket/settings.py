"""The settings of WebSocket connections.

Times are in seconds, with fractions down to a millisecond. URLs, header values and query values may be secret: they are
in no `repr` and in no message.

TOML has no null. Where a value may be `None`, the words "none" and "off" mean it, in upper or lower case: `port`,
`connect_timeout`, `heartbeat`, `silence_timeout`, `max_message_size`, `codec`, `send_queue.max_messages`,
`send_queue.time_to_live` and `reconnect.max_attempts`.
"""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

import base64
import ipaddress
import re
import ssl
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args
from urllib.parse import SplitResult, quote, unquote_plus, unquote_to_bytes, urlsplit

import yarl
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
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
from rxnodes.lifecycle.policy import FINAL_CODES, Policy, ReconnectPolicy
from rxnodes.settings.files import MISSING, unreadable
from rxnodes.transport.base import Target
from rxnodes.transport.receipts import QueueOverflow, SendQueue

__all__ = ["ConnectionSettings", "ReconnectSettings", "SendQueueSettings", "TlsSettings", "WebSocketSettings"]

_DAY = 24 * 60 * 60.0
_MIB = 1024 * 1024
_DELETE = 0x7F


def _is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in {"none", "off"})


@dataclass(frozen=True, slots=True)
class _Number:
    """Takes a number within a range, or the text of one; says what is allowed where it is not."""

    low: float
    high: float
    whole: bool = False
    unit: str = ""
    optional: bool = False

    def __call__(self, value: object) -> float | None:
        if self.optional and _is_none(value):
            return None
        number = self._number(value)
        # Written so that "not a number" (NaN) is refused too.
        if number is None or not self.low <= number <= self.high:
            raise ValueError(self._allowed())
        return number

    def _number(self, value: object) -> float | None:
        if isinstance(value, str):
            try:
                return int(value) if self.whole else float(value)
            except ValueError:
                return None
        # A bool is an int to Python, not to whoever writes settings.
        is_number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return value if is_number else None  # type: ignore[return-value]

    def _allowed(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        none = ' (or "none")' if self.optional else ""
        return f"must be {kind}{unit} from {self.low:g} to {self.high:.10g}{none}"


_Seconds = Annotated[float, BeforeValidator(_Number(0.001, _DAY, unit="seconds"))]
_SecondsOrNone = Annotated[float | None, BeforeValidator(_Number(0.001, _DAY, unit="seconds", optional=True))]


def _one_of(words: Collection[str]) -> Callable[[object], object]:
    """Takes one of these words; says which are allowed where it is none of them."""

    def check(value: object) -> object:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(map(repr, words))}")
        return value

    return check


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    """The file's path; a relative one begins at the settings folder, where there is one."""
    context: dict[str, Path] = info.context or {}
    path = context.get("folder", Path()) / path
    problem = unreadable(path)
    if problem is not None:
        raise ValueError(f"there is no file {str(path)!r}" if problem == MISSING else f"{str(path)!r} {problem}")
    return path


_File = Annotated[Path, AfterValidator(_existing_file)]


class TlsSettings(_Settings):
    """How a `wss` connection checks the server and shows who it is itself.

    Attributes:
        ca_file: Certificates (PEM) to trust instead of the system's.
        cert_file: The client's certificate (PEM), with its chain.
        key_file: Its private key (PEM), where `cert_file` does not hold it.
        key_password: What decrypts the private key.
        verify: Whether the server's certificate and name are checked. Off, anyone can pose as the server.
    """

    ca_file: _File | None = None
    cert_file: _File | None = None
    key_file: _File | None = None
    key_password: SecretStr | None = None
    verify: bool = True

    _context: ssl.SSLContext = PrivateAttr()

    @field_validator("key_file", "key_password")
    @classmethod
    def _belongs_to_a_certificate(cls, value: Any, info: ValidationInfo) -> Any:
        # The key is absent where `cert_file` itself was refused, which is a problem of its own.
        if value is not None and info.data.get("cert_file", ...) is None:
            raise ValueError("needs a cert_file")
        return value

    @model_validator(mode="after")
    def _build_context(self) -> "TlsSettings":
        """Builds the context at once, so that files that cannot be used are found with all other problems."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError:
            raise ValueError("ca_file holds no usable certificates (PEM)") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file is not None:
            # Without a password at all, OpenSSL would ask for one on the terminal.
            password = self.key_password.get_secret_value() if self.key_password else ""
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password)
            except (OSError, ValueError):
                raise ValueError(
                    "cert_file, key_file and key_password do not make a usable client certificate: both files must be"
                    " PEM, the key must be the certificate's, and the password must decrypt it"
                ) from None
        self._context = context
        return self

    def context(self) -> ssl.SSLContext:
        """The context, always the same one."""
        return self._context


class ReconnectSettings(_Settings):
    """When another attempt follows after the network or the peer ended a connection.

    Attributes:
        enabled: Whether anything is retried at all.
        initial_delay: Upper bound of the first delay, in seconds, from 0.001 to one day.
        max_delay: No delay is longer, in seconds, from `initial_delay` to one day.
        factor: How the bound grows from one retry to the next, from 1 to 100.
        jitter: Whether a delay is drawn at random from 0 to its bound, rather than being the bound.
        max_attempts: How many attempts in a row may fail, from 1 to 1,000,000; `None`: no limit.
        reset_after: After so many seconds open, the next failure counts as the first again; from 0.001 to one day.
        final_codes: Close codes of the peer, from 1000 to 4999, that are not retried.
    """

    enabled: bool = False
    initial_delay: _Seconds = 0.5
    max_delay: _Seconds = Field(default=30.0, validate_default=True)
    factor: Annotated[float, BeforeValidator(_Number(1, 100))] = 2.0
    jitter: bool = True
    max_attempts: Annotated[int | None, BeforeValidator(_Number(1, 1_000_000, whole=True, optional=True))] = None
    reset_after: _Seconds = 30.0
    final_codes: frozenset[Annotated[int, BeforeValidator(_Number(1000, 4999, whole=True))]] = FINAL_CODES

    @field_validator("max_delay")
    @classmethod
    def _not_below_the_first(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial_delay", value):
            raise ValueError("must not be less than initial_delay")
        return value

    def policy(self) -> ReconnectPolicy:
        """The same, as the lifecycle takes it."""
        return ReconnectPolicy(**dict(self))


class SendQueueSettings(_Settings):
    """The bounds of what waits to be sent.

    Attributes:
        max_messages: How many messages may wait, from 1 to 100,000,000; `None`: as many as fit into `max_bytes`.
        max_bytes: How many bytes they may have together, without framing, from 1 to 1 GiB.
        overflow: What happens to a message that does not fit: `"error"` refuses it, with an `ErrorEvent` of phase
            `send`; `"drop_newest"` refuses it, and only its receipt tells; `"drop_oldest"` gives up those that have
            waited longest.
        while_connecting: Whether a message waits for the connection to open while it is connecting or reconnecting.
            Otherwise it is refused, with an `ErrorEvent`.
        time_to_live: How long it waits for that, in seconds, from 0.001 to one day; `None`: to the end of the session.
    """

    max_messages: Annotated[int | None, BeforeValidator(_Number(1, 100_000_000, whole=True, optional=True))] = 1_000_000
    max_bytes: Annotated[int, BeforeValidator(_Number(1, 1024 * _MIB, whole=True, unit="bytes"))] = 128 * _MIB
    overflow: Annotated[QueueOverflow, BeforeValidator(_one_of(get_args(QueueOverflow)))] = "error"
    while_connecting: bool = False
    time_to_live: _SecondsOrNone = None

    @field_validator("time_to_live")
    @classmethod
    def _only_while_connecting(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("while_connecting") is False:
            raise ValueError("needs while_connecting = true")
        return value

    def queue(self) -> SendQueue:
        """The same, as the connection takes it."""
        return SendQueue(**dict(self))


# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: Headers that are the handshake's own business, and what sets them instead.
_HANDSHAKE_HEADERS = {
    "connection": "the handshake sets it",
    "content-length": "a handshake has no body",
    "host": "the url sets it",
    "sec-websocket-accept": "only servers send it",
    "sec-websocket-extensions": "compression sets it",
    "sec-websocket-key": "the handshake sets it",
    "sec-websocket-protocol": "subprotocols sets it",
    "sec-websocket-version": "the handshake sets it",
    "transfer-encoding": "a handshake has no body",
    "upgrade": "the handshake sets it",
}


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("must be a header name: letters, digits and !#$%&'*+-.^_`|~")
    lower = name.lower()
    if lower in _HANDSHAKE_HEADERS or lower.startswith("sec-websocket-"):
        raise ValueError(f"cannot be set here: {_HANDSHAKE_HEADERS.get(lower, 'the handshake sets it')}")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    # Categories of Unicode: Cc are control characters, Cs halves of surrogate pairs, which cannot be encoded.
    if any(unicodedata.category(char) in {"Cc", "Cs"} and char != "\t" for char in value.get_secret_value()):
        raise ValueError("must not contain line breaks or other control characters")
    return value


def _query_name(name: str) -> str:
    # What cannot be encoded comes from an environment variable that is not UTF-8.
    if not name or any(unicodedata.category(char) == "Cs" for char in name):
        raise ValueError("must be a name of valid Unicode text")
    return name


def _query_value(value: SecretStr) -> SecretStr:
    if any(unicodedata.category(char) == "Cs" for char in value.get_secret_value()):
        raise ValueError("must be valid Unicode text")
    return value


def _subprotocol(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("must be a subprotocol name: letters, digits and !#$%&'*+-.^_`|~")
    return name


def _connection_name(name: str) -> str:
    if not name.isprintable() or name != name.strip() or not name:
        raise ValueError("must be a name of printable characters, without spaces around it")
    return name


def _codec(value: Any) -> Codec[Any] | None:
    """The codec; whatever else is wrong with one that was made in Python, it is no codec."""
    if _is_none(value):
        return None
    names = " or ".join(f'"{name}"' for name in CODEC_NAMES)
    try:
        return as_codec(value)
    except TypeError:
        problem = f'must be {names} (or "none"); in Python also a type, a pair of functions or a Codec'
    except ValueError as error:
        problem = str(error) if value in CODEC_NAMES else f'must be {names} (or "none")'
    raise ValueError(problem)


def _checked_url(url: SecretStr) -> SecretStr:
    _split(url.get_secret_value())
    return url


def _joined(own: Mapping[str, SecretStr], more: object, *, key: Callable[[str], str] = str) -> object:
    """Both, of which `more` wins. What is no mapping is left for the validation to name."""
    if not isinstance(more, Mapping):
        return more
    given: Mapping[Any, Any] = more  # pyright: ignore[reportUnknownVariableType]
    replaced = {key(name) for name in given if isinstance(name, str)}
    return {**{name: value for name, value in own.items() if key(name) not in replaced}, **given}


class ConnectionSettings(_Settings):
    """One connection. A plain URL stands for a connection with that `url` and nothing else set.

    Attributes:
        url: `ws://` or `wss://`, a host, and optionally user:password@, a port, a path and a query; no fragment.
        port: Overrides the URL's port; from 1 to 65535. `None`: the URL's, or else 80 for ws and 443 for wss.
        subprotocols: Offered to the server, the preferred first (RFC 6455 section 1.9).
        headers: Extra headers of the handshake; the values are secret.
        query: Joins the URL's query, and wins over values of the same name there; the values are secret.
        connect_timeout: For one attempt, in seconds, from 0.001 to one day; `None`: no limit.
        close_timeout: From the beginning of any closing to its end, in seconds, from 0.001 to one day.
        heartbeat: Seconds between pings, from 0.001 to one day; a peer from which nothing has come half as many
            seconds after a ping is given up. `None`: no heartbeat.
        silence_timeout: Seconds without a message after which a peer is given up, from 0.001 to one day, even if it
            answers pings. `None`: it may be silent.
        max_message_size: Bytes that one message may have, from 1 to 1 GiB; `None`: no limit.
        send_queue: The bounds of what waits to be sent.
        compression: Whether permessage-deflate (RFC 7692) is offered.
        codec: What the nodes write and read messages with where nothing else is said: "json" or "msgpack"; in Python
            any codec. `None`: messages are sent and given as they are.
        tls: For a `wss` URL: whom to trust, and the client's certificate.
        reconnect: When another attempt follows.
        before_connect: A coroutine function asked before each attempt; only in Python.
    """

    shorthand: ClassVar[str] = "url"

    url: Annotated[SecretStr, AfterValidator(_checked_url)]
    port: Annotated[int | None, BeforeValidator(_Number(1, 65535, whole=True, optional=True))] = None
    subprotocols: tuple[Annotated[str, AfterValidator(_subprotocol)], ...] = ()
    headers: dict[Annotated[str, AfterValidator(_header_name)], Annotated[SecretStr, AfterValidator(_header_value)]] = (
        Field(default_factory=dict, json_schema_extra={"env_separator": "-"})
    )
    query: dict[Annotated[str, AfterValidator(_query_name)], Annotated[SecretStr, AfterValidator(_query_value)]] = (
        Field(default_factory=dict)
    )
    connect_timeout: _SecondsOrNone = 10.0
    close_timeout: _Seconds = 10.0
    heartbeat: _SecondsOrNone = 20.0
    silence_timeout: _SecondsOrNone = None
    max_message_size: Annotated[
        int | None, BeforeValidator(_Number(1, 1024 * _MIB, whole=True, unit="bytes", optional=True))
    ] = _MIB
    send_queue: SendQueueSettings = Field(default_factory=SendQueueSettings)
    compression: bool = False
    codec: Annotated[Any, BeforeValidator(_codec)] = None
    tls: TlsSettings | None = None
    reconnect: ReconnectSettings = Field(default_factory=ReconnectSettings)
    before_connect: Callable[..., Any] | None = Field(default=None, repr=False)

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
        if "authorization" in names and url is not None and _userinfo(_split(url.get_secret_value())):
            raise ValueError("must not hold Authorization beside a url with user:password@, which sets it too")
        return value

    @field_validator("tls")
    @classmethod
    def _only_with_wss(cls, value: TlsSettings | None, info: ValidationInfo) -> TlsSettings | None:
        url: SecretStr | None = info.data.get("url")
        if value is not None and url is not None and _split(url.get_secret_value()).scheme != "wss":
            raise ValueError("needs a url with wss://")
        return value

    def policy(self) -> Policy:
        """The bounds that the connection's lifecycle keeps."""
        return Policy(
            connect_timeout=self.connect_timeout,
            close_timeout=self.close_timeout,
            reconnect=self.reconnect.policy(),
        )

    def preparation(self) -> Preparation | None:
        """What is done before each dial."""
        if self.before_connect is None:
            return None
        return Preparation(hook=self.before_connect, retarget=self.retarget)

    def retarget(self, options: ConnectOptions) -> Target:
        """Where to connect to, and how, when a hook says otherwise.

        Raises:
            ValueError: If its options cannot be used. It holds no secret.
        """
        values = {name: getattr(self, name) for name in self.model_fields_set}
        values["headers"] = _joined(self.headers, options.headers, key=str.lower)
        values["query"] = _joined(self.query, options.query)
        if options.url is not None:
            # A whole URL, with the port that it says or its scheme's own.
            values |= {"url": options.url, "port": None}
        try:
            return ConnectionSettings.model_validate(values).target()
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, detail['loc']))} {detail['msg']}" for detail in error.errors(include_input=False)
            ]
        raise ValueError("; ".join(problems))

    def target(self) -> Target:
        """Where to connect to, and how."""
        parts = _split(self.url.get_secret_value())
        host = _sendable_host(parts)
        port = f":{self.port or parts.port}" if self.port or parts.port else ""
        address = f"{parts.scheme}://{host}{port}"
        path = _encoded(parts.path) or "/"
        pieces = self._query_pieces(parts.query)
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if (credentials := _credentials(parts)) is not None:
            headers["Authorization"] = f"Basic {credentials}"
        if "%" in host:
            # RFC 6874 section 4: the name of an interface is nobody else's business.
            headers["Host"] = f"{host.partition('%')[0]}]{port}"
        return Target(
            url=address + path + _after_mark("&".join(pieces)),
            redacted_url=address + path + _after_mark("&".join(map(_redacted, pieces))),
            headers=headers,
            subprotocols=self.subprotocols,
            heartbeat=self.heartbeat,
            silence_timeout=self.silence_timeout,
            max_message_size=self.max_message_size,
            send_queue=self.send_queue.queue(),
            compression=self.compression,
            tls=self.tls.context() if self.tls else None,
        )

    def _query_pieces(self, in_url: str) -> list[str]:
        """What stands between the "&" of the whole query. The URL's own pieces are as given, empty ones too."""
        given = in_url.split("&") if in_url else []
        kept = [_encoded(piece) for piece in given if unquote_plus(piece.partition("=")[0]) not in self.query]
        added = [
            f"{quote(name, safe='')}={quote(value.get_secret_value(), safe='')}" for name, value in self.query.items()
        ]
        return kept + added


class WebSocketSettings(_Settings):
    """The section of the WebSocket plugin.

    Attributes:
        connections: The connections by name; each a URL or the fields of `ConnectionSettings`.
    """

    connections: dict[Annotated[str, AfterValidator(_connection_name)], ConnectionSettings] = Field(
        default_factory=dict
    )


def _split(url: str) -> SplitResult:
    """The parts of a URL that can be connected to.

    Raises:
        ValueError: With a text that repeats nothing of the URL, since any part of it may be secret.
    """
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must not contain spaces, line breaks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as ws://host:8080/path, with a port from 1 to 65535") from None
    if parts.scheme not in {"ws", "wss"} or not url.partition(":")[2].startswith("//"):
        raise ValueError("must begin with ws:// or wss://")
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    _sendable_host(parts)
    _credentials(parts)
    if "#" in url:
        raise ValueError(
            'must not have a fragment ("#...", RFC 6455 section 3); write %23 for a "#" in a path or query'
        )
    return parts


def _sendable_host(parts: SplitResult) -> str:
    """The host as it goes onto the wire: a name in ASCII (IDNA), or an IP address, of version 6 in brackets.

    Raises:
        ValueError: If it is none. What is refused here would fail at each dial.
    """
    host = parts.hostname or ""
    if ":" in host:
        # RFC 6874 has "%25" between an address and its interface, and allows the "%" that all else uses.
        return f"[{_ip_address_v6(host.replace('%25', '%', 1))}]"
    try:
        name = yarl.URL.build(scheme="ws", host=host).raw_host or ""
    except ValueError:
        name = ""
    # RFC 1035 section 2.3.4: the lengths of a label and of the name, which may end in a dot.
    if not re.fullmatch(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", name):
        raise ValueError("must have a valid host, such as ws://host:8080/path")
    if re.fullmatch(r"[0-9.]+", name) and not _is_ip_address(name):
        raise ValueError("must have a host name or an IP address; one of version 4 is four numbers from 0 to 255")
    return name


def _ip_address_v6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError("must have a valid host, such as ws://[::1]:8080/path") from None
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", address.scope_id or "none"):
        raise ValueError("must have a valid network interface behind the % of its host, such as ws://[fe80::1%eth0]/")
    if address.scope_id is None and address.is_link_local:
        raise ValueError("must name the network interface of a link-local address, such as ws://[fe80::1%eth0]/")
    return host


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _userinfo(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[0]


def _credentials(parts: SplitResult) -> str | None:
    """What Basic authentication makes of user:password@ (RFC 7617), in UTF-8; `None` where there is none.

    Raises:
        ValueError: If there can be no such credentials. The text repeats nothing of them.
    """
    userinfo = _userinfo(parts)
    if not userinfo:
        return None
    user, password = (unquote_to_bytes(part) for part in userinfo.partition(":")[::2])
    if b":" in user:
        raise ValueError(
            "must not have a user name with a colon in it, which cannot be told from the password (RFC 7617)"
        )
    if any(byte < ord(" ") or byte == _DELETE for byte in user + password):
        raise ValueError("must not have control characters in user or password (RFC 7617)")
    return base64.b64encode(user + b":" + password).decode()


def _encoded(text: str) -> str:
    """Percent-encodes what a URL cannot hold (RFC 3986). All else stays, also what is encoded already."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(text, safe="%:@!$&'()*+,;=~/?")


def _redacted(piece: str) -> str:
    """A piece of a query without its value. Without a "=" it may be a token as well as a name."""
    name, equals, _ = piece.partition("=")
    return f"{name}=***" if equals else piece and "***"


def _after_mark(query: str) -> str:
    return f"?{query}" if query else ""
