"""The yardstick: haproxy passing the same calls unread, one thread, connections reused.

The budgets were set on a machine where it cost 13 µs a call; as multiples of it they hold on any machine.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.connection import Failed
from bench.gateway import unused_port
from bench.peers import listens
from bench.process import http_upstream, running
from bench.series import Subject
from bench.wire import Target

REFERENCE = 13.0
"""µs of CPU that haproxy took for a call, c=16, where the budgets of the architecture were set."""
_CONFIGURATION = """
global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend calls
  bind 127.0.0.1:{port}
  default_backend upstream
backend upstream
  server only {upstream}
"""


@contextlib.asynccontextmanager
async def open_haproxy(place: Path) -> AsyncIterator[Subject]:
    """Run haproxy in front of the HTTP upstream.

    Raises:
        Failed: it is not installed.
    """
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        raise Failed("haproxy is not installed (Debian: apt-get install haproxy)")
    port = unused_port()
    async with http_upstream(place) as url:
        file = place / "haproxy.cfg"
        file.write_text(_CONFIGURATION.format(port=port, upstream=urlsplit(url).netloc))
        async with running([program, "-db", "-f", str(file)], place / "haproxy.log") as started:
            await listens(started, port)
            yield Subject(Target(f"http://127.0.0.1:{port}/mcp"), started)
