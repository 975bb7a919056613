"""`tls` of a connection."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rxnodes.errors import ConnectError
from rxnodes.websocket.settings.fields import File, OrNone, Settings
from rxnodes.websocket.settings.url import sendable_host

__all__ = ["TlsSettings"]


def _hostname(name: str) -> str:
    try:
        parts = urlsplit(f"wss://[{name}]" if ":" in name else f"wss://{name}")
        host = sendable_host(parts).strip("[]")
    except ValueError:
        host = ""
    if not host or host != name.lower():
        raise ValueError("must be a host name in ASCII, or an IP address")
    return name


#: A name that a certificate can be for.
Hostname = Annotated[str, AfterValidator(_hostname)]


class TlsSettings(Settings):
    """How a `wss` connection checks the server, and which certificate it shows. An `ssl.SSLContext` can stand for it.

    The files are read when the settings are loaded, and again for an attempt if they have changed since.

    Attributes:
        ca_file: Certificates (PEM) to trust instead of the system's.
        cert_file: The client's certificate (PEM), with its chain.
        key_file: Its private key (PEM), if `cert_file` does not hold it.
        key_password: The password of the private key.
        verify: Whether the server's certificate and name are checked. If not, anyone can pose as the server.
        server_hostname: The name that the certificate must have, which is also sent to the server (SNI); `None`: the
            URL's host.
        check_hostname: Whether the certificate's name is checked. If not, anyone with a trusted certificate can pose as
            the server.
        ssl_context: In place of everything above but `server_hostname`; only in Python.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ca_file: Annotated[File | None, OrNone] = None
    cert_file: Annotated[File | None, OrNone] = None
    key_file: Annotated[File | None, OrNone] = None
    key_password: SecretStr | None = None
    verify: bool = True
    server_hostname: Annotated[Hostname | None, OrNone] = None
    check_hostname: bool = True
    ssl_context: ssl.SSLContext | None = None

    _context: ssl.SSLContext = PrivateAttr()
    _seen: tuple[Any, ...] = PrivateAttr(default=())

    @model_validator(mode="before")
    @classmethod
    def _from_context(cls, value: Any) -> Any:
        return {"ssl_context": value} if isinstance(value, ssl.SSLContext) else value

    @field_validator("key_file", "key_password")
    @classmethod
    def _belongs_to_a_certificate(cls, value: Any, info: ValidationInfo) -> Any:
        # If `cert_file` itself was refused, it is not there, and that is a problem of its own.
        if value is not None and info.data.get("cert_file", ...) is None:
            raise ValueError("needs a cert_file")
        return value

    @field_validator("ssl_context", mode="before")
    @classmethod
    def _a_context(cls, value: Any) -> Any:
        if not isinstance(value, ssl.SSLContext | None):
            raise ValueError("must be an ssl.SSLContext, which only Python can give")  # noqa: TRY004 - for pydantic
        return value

    @model_validator(mode="after")
    def _build_context(self) -> "TlsSettings":
        """Builds the context at once, so that unusable files are found together with all other problems."""
        if self.ssl_context is not None and self.model_fields_set - {"ssl_context", "server_hostname"}:
            raise ValueError("ssl_context stands for all but server_hostname: nothing else can be set beside it")
        self._seen, self._context = self._look(), self._load()
        return self

    def _look(self) -> tuple[Any, ...]:
        """The state of each file, which differs when a file has changed."""
        return tuple(_state(file) for file in (self.ca_file, self.cert_file, self.key_file) if file is not None)

    def _load(self) -> ssl.SSLContext:
        if self.ssl_context is not None:
            return self.ssl_context
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError:
            raise ValueError("ca_file holds no usable certificates (PEM)") from None
        context.check_hostname = self.verify and self.check_hostname
        if not self.verify:
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
        return context

    def context(self) -> ssl.SSLContext:
        """The context for an attempt: the same one as before, unless a file has changed.

        Raises:
            ConnectError: If a file has changed and cannot be used. The next attempt reads it again.
        """
        now = self._look()
        if now != self._seen:
            try:
                self._context = self._load()
            except ValueError as error:
                problem = str(error)
            else:
                self._seen = now
                return self._context
            raise ConnectError(f"a file of the settings has changed and cannot be used: tls.{problem}")
        return self._context


def _state(file: Path) -> object:
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
