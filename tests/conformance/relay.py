"""The command that the suite is told to run as a client: it hands over what it was told, and waits for the end.

    python relay.py SOCKET URL

What is done is done in the process that listens at the socket (`driver.py`), where everything is loaded already:
the suite starts this once for every scenario. It must import nothing but the standard library.
"""

import json
import os
import socket
import sys

NAMES = ("SCENARIO", "CONTEXT", "PROTOCOL_VERSION")


def main() -> int:
    """Hand over, print what is said, and give the status."""
    told = {name: os.environ.get(f"MCP_CONFORMANCE_{name}", "") for name in NAMES}
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(sys.argv[1])
        there.sendall(json.dumps({**told, "URL": sys.argv[2]}).encode() + b"\n")
        answer = json.loads(there.makefile("rb").readline())
    print(answer["said"], file=sys.stderr)
    return answer["status"]


if __name__ == "__main__":
    sys.exit(main())
