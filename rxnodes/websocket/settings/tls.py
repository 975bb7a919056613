"""`tls` of a connection."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

import ssl
from typing import Any

from pydantic import PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from rxnodes.websocket.settings.fields import File, Settings

__all__ = ["TlsSettings"]


class TlsSettings(Settings):
    """How a `wss` connection checks the server and shows who it is itself.

    Attributes:
        ca_file: Certificates (PEM) to trust instead of the system's.
        cert_file: The client's certificate (PEM), with its chain.
        key_file: Its private key (PEM), where `cert_file` does not hold it.
        key_password: What decrypts the private key.
        verify: Whether the server's certificate and name are checked. Off, anyone can pose as the server.
    """

    ca_file: File | None = None
    cert_file: File | None = None
    key_file: File | None = None
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
        """Builds the context at once, so that unusable files are found together with all other problems."""
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
