"""Settings of the process runtime."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ProcessSettings(BaseModel):
    """`runtimes: {process: …}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sandbox: Literal["auto", "bubblewrap", "namespaces", "landlock"] = Field(
        default="auto", description="Which sandbox to use; `auto` takes the best that works here."
    )
    limits: Literal["auto", "cgroup", "rlimits"] = Field(
        default="auto",
        description="How limits are set; `cgroup` refuses to start where no cgroup can be made.",
    )
