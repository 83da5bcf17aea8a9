"""Settings of the Vault source. No token stands in them: they say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def vault_address(value: str) -> str:
    """Check and normalise a server's address.

    Raises:
        ValueError: it is none, or what goes there could be read on its way.
    """
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("should be a URL that begins with https:// (or http:// on this machine)")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError("should have nothing beside the host and port")
    # The token would be readable on its way, and so would be every secret.
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("should be https:// beyond this machine")
    return value.rstrip("/")


def _beside(value: Path, info: ValidationInfo) -> Path:
    base = getattr(info.context, "base", None)
    return base / value.expanduser() if isinstance(base, Path) else value


BesidePath = Annotated[Path, AfterValidator(_beside)]
"""Relative to the settings file."""


class AppRole(BaseModel):
    """Log in by AppRole."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    role_id: str = Field(min_length=1, max_length=512)
    """The role; no secret by itself."""
    secret_id_file: BesidePath | None = None
    """File that holds the secret id."""
    secret_id_env: str = Field(default="VAULT_SECRET_ID", min_length=1, max_length=255)
    """Variable that holds it, where there is no file."""
    mount: str = Field(default="approle", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=255)
    """Where the method is mounted."""


class VaultSettings(BaseModel):
    """A server of HashiCorp Vault or OpenBao: `${vault:path#field}` reads a field of its key/value secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    address: Annotated[str, AfterValidator(vault_address)] | None = Field(default=None, max_length=1024)
    """`https://host:8200`; where absent, the variable `VAULT_ADDR`."""
    namespace: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?$", max_length=512
    )
    """Namespace that paths are in."""
    kv: Literal["auto", 1, 2] = "auto"
    """Version of the key/value engine. `auto` asks the server, for each mount; else the mount is the path's first part."""
    token_file: BesidePath | None = None
    """File that holds the token, such as an agent's sink; read again when the token is refused."""
    token_env: str = Field(default="VAULT_TOKEN", min_length=1, max_length=255)
    """Variable that holds it, where there is no file."""
    approle: AppRole | None = None
    """In place of a token."""
    ca: BesidePath | None = None
    """PEM file of the authorities to trust beside the system's and `outbound.ca_bundle`."""
    timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds for one answer."""
