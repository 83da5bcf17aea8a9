"""The two programs: `cell` and `outlet`. Each imports what it needs: a start waits for both."""

from __future__ import annotations

import sys


def main(part: str) -> None:
    """Run one of the two."""
    if part == "cell":
        from tidegate.extensions.runtimes.docker.egress.sidecar.cell import hold

        hold()
    else:
        from tidegate.extensions.runtimes.docker.egress.sidecar.opening import serve

        serve()


if __name__ == "__main__":
    main(sys.argv[1])
