"""A program that keeps credentials as `docker-credential-*` do, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

PROGRAM = """#!/bin/sh
[ "$1" = get ] || exit 9
url=$(cat)
case "$url" in
  https://kept.example.com) cat '{place}/answer' ;;
  https://slow.example.com) exec sleep 60 ;;
  https://large.example.com) exec head -c 1000000 /dev/zero ;;
  https://garbage.example.com) echo 'hunter2 is no JSON' ;;
  https://failing.example.com) echo 'hunter2 in an error'; exit 3 ;;
  https://variables.example.com) printf '{{"Secret": "%s"}}' "$(env | sort | cut -d= -f1 | tr '\\n' ' ')" ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


def credential_program(place: Path, name: str) -> Callable[[str], None]:
    """Write `docker-credential-NAME` into a directory; gives how to set what it keeps for https://kept.example.com."""
    program = place / f"docker-credential-{name}"
    program.write_text(PROGRAM.format(place=place))
    program.chmod(0o755)

    def answer(value: str) -> None:
        told = {"ServerURL": "https://kept.example.com", "Username": "gateway", "Secret": value}
        (place / "answer").write_text(json.dumps(told))

    return answer
