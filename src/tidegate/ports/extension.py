"""Extension: one value that says how a part is set up and opened.

`DOCKER: Extension[DockerSettings, Runtime] = Extension(DockerSettings, open_docker)`: the annotation
makes the type checker prove the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

SettingsT = TypeVar("SettingsT")
PortT = TypeVar("PortT")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an extension may know of the gateway it is opened in."""

    state_dir: Path
    """The state directory (mode 0700). An extension keeps its files in a directory of its own below."""
    instance: str
    """16 hex digits that name this gateway's state directory; on the labels of its workloads."""
    proxy: str | None = None
    """URL of the outbound HTTP proxy."""
    ca_bundle: Path | None = None
    """PEM file of the authorities to trust beside the system's."""


@dataclass(frozen=True, slots=True)
class Extension(Generic[SettingsT, PortT]):
    """Settings model and opener of an extension.

    `open` is an async context manager: it acquires before `yield` and releases after.
    """

    settings: type[SettingsT]
    open: Callable[[SettingsT, Surroundings], AbstractAsyncContextManager[PortT]]
