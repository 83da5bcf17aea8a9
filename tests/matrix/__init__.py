"""Every feature of MCP through the gateway: each direction between the eras, each carrier, one cell each.

- `peer`       a client of either era that records what reaches it, and how names are shown to it
- `features`   the table of features, and for each what a client does and must see (`acts_*`)
- `upstreams`  the feature servers (tests/servers/features*), started for a test
- `run`        one gateway before all of them, and what came of every cell
- `document`   writes that into docs/conformance.md
- `typescript` the TypeScript SDK's clients that are asked and that listen (`questions*.mjs`)
"""
