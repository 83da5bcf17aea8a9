"""Parts: what stands behind the two ways to administer the gateway, the control socket and the admin API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.access.quotas import Quotas
from tidegate.domain.tenant import Tenants
from tidegate.edge.admin.auditing import Auditing
from tidegate.edge.admin.explaining import Explaining
from tidegate.edge.admin.feed import Feed
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.shapes import AboutShape
from tidegate.edge.admin.stopping import Stopping
from tidegate.edge.admin.views import Views


@dataclass(frozen=True, slots=True)
class Parts:
    """What is to be seen, what may be done, what happens."""

    about: Callable[[], AboutShape]
    """Tells of the gateway itself."""
    views: Views
    operations: Operations
    feed: Feed
    stopping: Stopping
    quotas: Quotas
    explaining: Explaining
    auditing: Auditing
    tenants: Callable[[], Tenants]
    """Gives those in force."""
