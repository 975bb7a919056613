"""The section `fleet` of the settings: `fleet.toml`."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from rxnodes.catalogue.plugins import Plugin
from rxnodes.websocket.settings.fields import File, Number, OrNone, Settings
from rxnodes.websocket.settings.names import ConnectionName
from rxnodes.websocket.settings.tls import TlsSettings

__all__ = ["FleetSettings", "plugin"]


def servers_in(url: str) -> tuple[str, ...]:
    """The URLs of the servers, which have commas between them, without users, passwords and tokens.

    Raises:
        ValueError: If one of them is none. The text repeats no part of it, since any part may be secret.
    """
    return tuple(_server(part.strip()) for part in url.split(","))


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as nats://host:4222, with a port from 1 to 65535") from None
    if parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise ValueError("must be a URL such as nats://host:4222 or tls://host:4222; several with commas between them")
    if port == 0 or parts.path.strip("/") or parts.query or parts.fragment or not url.isprintable():
        raise ValueError("must be nats:// or tls://, a host and optionally a port from 1 to 65535, and nothing behind")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _checked(url: SecretStr) -> SecretStr:
    servers_in(url.get_secret_value())
    return url


class FleetSettings(Settings):
    """The section of the fleet: which NATS servers its workers share, and what each of them is.

    All workers of a fleet have the same, but for `url`, `credentials`, `tls` and `capacity`.

    Attributes:
        url: Of a NATS server, such as `nats://user:password@host:4222`, or of several, with commas between them;
            `None`: it is given where the fleet is joined. Secret.
        name: The fleet's name: fleets of other names on the same servers have nothing to do with it.
        credentials: A `.creds` file; `None`: what the URL says, or nothing.
        tls: How the server is checked, and shown who the worker is; `None`: the system's trust, where the URL or the
            server asks for TLS.
        lease: For how many seconds a worker may act without a word from the servers, from 1 to 3600. So much later the
            others take over what a dead worker held.
        capacity: How many connections this worker holds at most, from 1 to 10,000,000; `None`: any number.
        replicas: On how many servers what the fleet shares is kept, from 1 to 5.
        history: How many entries of the log are kept for each connection, from 1 to 1,000,000.
        messages: How the messages of a connection travel, by its name, where that is not at most once: `"stream"` keeps
            them for a day, in order and without loss. It stands here and not with the connection, since it means
            nothing to one that is not shared.

    Example:
        >>> settings = FleetSettings.model_validate({"url": "nats://bot:s3cret@10.0.0.7:4222", "lease": 5})
        >>> settings.servers, settings.lease, settings.name
        (('nats://10.0.0.7:4222',), 5.0, 'default')
    """

    url: Annotated[Annotated[SecretStr, AfterValidator(_checked)] | None, OrNone] = None
    name: ConnectionName = "default"
    credentials: Annotated[File | None, OrNone] = None
    tls: Annotated[TlsSettings | None, OrNone] = None
    lease: Annotated[float, BeforeValidator(Number(1, 3600, unit="seconds"))] = 15.0
    capacity: Annotated[int | None, BeforeValidator(Number(1, 10_000_000, whole=True, optional=True))] = None
    replicas: Annotated[int, BeforeValidator(Number(1, 5, whole=True))] = 1
    history: Annotated[int, BeforeValidator(Number(1, 1_000_000, whole=True))] = 64
    messages: dict[ConnectionName, Literal["stream"]] = Field(default_factory=dict[ConnectionName, Literal["stream"]])

    @field_validator("tls")
    @classmethod
    def _by_its_own_name(cls, tls: TlsSettings | None) -> TlsSettings | None:
        if tls is not None and tls.server_hostname is not None:
            raise ValueError(
                "server_hostname cannot be set here: the certificate must have the name in the server's URL"
            )
        return tls

    @property
    def servers(self) -> tuple[str, ...]:
        """The URLs of the servers, without anything secret."""
        return () if self.url is None else servers_in(self.url.get_secret_value())

    def at(self, url: str) -> "FleetSettings":
        """The same with other servers.

        Raises:
            ValueError: If the URL is none. The text does not repeat it.
        """
        servers_in(url)
        return self.model_copy(update={"url": SecretStr(url)})


#: A section like that of any plugin. It adds no nodes.
plugin = Plugin(name="fleet", title="Fleet", settings=FleetSettings, nodes=())
