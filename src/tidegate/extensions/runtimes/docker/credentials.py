"""Credentials: what `docker login` kept for a registry, as the engine's API wants it.

Reads only the plain entries of the docker command's configuration; programs that keep secrets
(`credHelpers`, `credsStore`) are not run. Nothing of it is logged.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any, cast

_DEFAULT = "https://index.docker.io/v1/"
_LIMIT = 1024 * 1024


def registry_of(image: str) -> str:
    """Give the key under which an image's registry stands in the configuration."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _DEFAULT


def registry_auth(image: str, place: Path | None = None) -> str | None:
    """Give the `X-Registry-Auth` value for an image, or None where nothing is kept for its registry."""
    where = place or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    registry = registry_of(image)
    try:
        if where.stat().st_size > _LIMIT:
            return None
        kept = cast("dict[str, Any]", json.loads(where.read_bytes()))
        entry = cast("dict[str, str]", kept["auths"][registry])
        user, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return None
    if not colon:
        return None
    told = {"username": user, "password": password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
