"""The admin side of the gateway: what it shows of its servers, what may be done to them, what happens.

`views` and `operations` are the one place where that is decided; the control socket and the admin API
are two ways to them. FastAPI is imported in `api` alone, which is imported at the first request to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.edge.admin.parts import Parts
    from tidegate.edge.asgi import Application


def open_api(parts: Parts) -> Application:
    """Import and make the admin API. Takes a fraction of a second: not for the loop's thread."""
    from tidegate.edge.admin.api import make

    return make(parts)
