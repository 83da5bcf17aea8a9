"""Handles: what clients know servers' tasks by, opened; and who may use them where.

Sealing and opening them is `tasks`' matter.
"""

from __future__ import annotations

import msgspec

from tidegate.domain.principal import Principal
from tidegate.domain.server import Remote, ServerSpec, Sharing
from tidegate.domain.target import Kind, Target
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.view import is_chosen
from tidegate.protocol import capabilities
from tidegate.protocol.capabilities import Offer

UNKNOWN = "unknown task"
"""What is said of every handle that is of no use, whatever the reason."""


class Origin(msgspec.Struct, frozen=True):
    """Where a task is made, and by which tool."""

    server: str
    sharing: str
    """Key of the workload in its pool."""
    workload: str
    """Id of the workload: another one after it would know nothing of the task, or call its own by the same id."""
    tool: str
    """The server's own name of it."""


class Handle(msgspec.Struct, frozen=True, array_like=True):
    """What a handle says."""

    modern: bool
    """Whether it is a task of the extension; else one of 2025-11-25."""
    server: str
    sharing: str
    workload: str
    tool: str
    task: str
    """The server's own id."""

    @property
    def origin(self) -> Origin:
        """Where the task is."""
        return Origin(self.server, self.sharing, self.workload, self.tool)

    @property
    def offer(self) -> Offer:
        """What the workload was offered, as its key says."""
        return capabilities.parse(self.sharing.partition("+")[2] or "none")

    @property
    def target(self) -> Target:
        """What using it is authorised as."""
        return Target(self.server, Kind.TOOL, self.tool)


def may_use(principal: Principal, endpoint: Endpoint, handle: Handle) -> bool:
    """Tell whether a principal may now use the tool that made a task, at an endpoint."""
    spec = endpoint.spec
    if handle.server not in spec.servers or not is_chosen(spec, handle.server, Kind.TOOL, handle.tool):
        return False
    return endpoint.authorizer.decide(principal, handle.target).allowed


def is_there(pool: Pool, handle: Handle) -> bool:
    """Tell whether the workload that made a task is, or may be, there: another one is not brought up for it."""
    workload = pool.holder(handle.sharing, handle.workload) or pool.workloads.get(handle.sharing)
    return _keeps_elsewhere(pool.spec) if workload is None else has(workload, handle)


def has(workload: Workload, handle: Handle) -> bool:
    """Tell whether a workload can know of a task."""
    return knows(workload.spec, workload.identity.id, handle)


def knows(spec: ServerSpec, workload: str, handle: Handle) -> bool:
    """Tell whether the workload of that id can: only a server without a memory of its own keeps tasks elsewhere."""
    return _keeps_elsewhere(spec) or workload == handle.workload


def _keeps_elsewhere(spec: ServerSpec) -> bool:
    return not spec.remembers or isinstance(spec.launch, Remote)


def possible(spec: ServerSpec) -> bool:
    """Tell whether a server can have tasks: not where its workload ends with the call."""
    return spec.sharing is not Sharing.CALL
