"""Packages: fetches a pinned server package and all it depends on, outside any sandbox.

    fetched = await fetch(package, Target(python="3.12"), into, say, surroundings)

- `package`: a `tidegate.domain.server.Package` (`pypi` or `npm`, pinned).
- `target`: what it will run on. `Target()` is this very interpreter on this machine (a virtual
  environment made here); `Target(python="3.12", machine="x86_64", glibc=(2, 36))` is a container.
- `into`: the directory that keeps what was fetched (`<state>/packages`); made where it is missing.
- `say`: is told in a few words how far it is (`fetching mcp-server-time: 12 files, 9 MiB`).

`Fetched.directory` is what an image build can copy as it stands and install without a network:

- pypi: `wheels/*.whl` and `requirements.txt`, locked by hash:
  `pip install --no-index --find-links wheels --require-hashes -r requirements.txt`.
  `Fetched.executable` is the name of the console script.
- npm: `node_modules/`, `package.json`, `package-lock.json`; nothing is left to install, and no
  package's own script was run. `Fetched.executable` is the program's path below the directory
  (`node_modules/.bin/…`, a link to a script for `node`).

`Fetched.lock` is the file that names every part with its hash, `Fetched.digest` (64 hex digits) is
that file's SHA-256. What is there already is verified against its lock and fetched again if it differs.

Nothing here runs a package's code, builds from source, or knows of sandboxes and images.
"""

from tidegate.extensions.packages.fetch import Fetched, fetch
from tidegate.extensions.packages.names import Target
from tidegate.extensions.packages.node import Node, find_node

__all__ = ["Fetched", "Node", "Target", "fetch", "find_node"]
