"""Processes: MCP servers as sandboxed processes of this machine, for `command:` and `package:` servers.

`PROCESS` is the extension. The package's parts, from the outside in: `runtime` keeps workloads,
`plan` turns a ServerSpec into a job, `ladder` chooses the sandbox, `spawn` runs the job by the
`launcher`, which is a program of its own. What holds on which rung is in `docs/processes.md`.

Nothing here gives a server what its spec does not declare.
"""

from tidegate.extensions.runtimes.process.runtime import open_process
from tidegate.extensions.runtimes.process.settings import ProcessSettings
from tidegate.ports.extension import Extension
from tidegate.ports.runtime import Runtime

__all__ = ["PROCESS", "ProcessSettings"]

PROCESS: Extension[ProcessSettings, Runtime] = Extension(ProcessSettings, open_process)
