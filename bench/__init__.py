"""The benchmark: what a call costs with nothing in between, through the gateway at its least, and governed.

It measures from outside: it starts the gateway as an operator does and imports nothing of `tidegate`. The
load and the upstreams are its own, so that nobody's client or server library is measured by mistake.

- `wire`           the requests it sends and what it makes of the answers
- `connection`     one HTTP connection of the load generator
- `load`           closed loop and fixed rate
- `upstream_http`  the cheapest MCP server over HTTP that Python can be
- `upstream_stdio` the cheapest one over lines
- `process`        starting programs; their CPU time and memory
- `gateway`        the gateway under test, its settings and its key
- `series`         what is measured in which order
- `report`         the table, the JSON line, the budgets
- `peers`          other gateways, in the same run
"""
