"""Own: the IPv4 addresses of this machine, as the kernel's table of routes has them.

A name whose owner means ill could lead to one that is public, behind which something listens that is not.
"""

from __future__ import annotations

import re
from pathlib import Path

_MOST = 256
_TABLE = Path("/proc/net/fib_trie")
_LOCAL = re.compile(r"\|-- ([0-9.]{7,15})\n\s+/32 host LOCAL")


def own_addresses(table: Path = _TABLE) -> tuple[str, ...]:
    """Give them without the loopback's; none where the kernel does not tell."""
    try:
        text = table.read_text("ascii")
    except (OSError, ValueError):
        return ()
    found = sorted(set(_LOCAL.findall(text)))
    return tuple(each for each in found if not each.startswith("127."))[:_MOST]
