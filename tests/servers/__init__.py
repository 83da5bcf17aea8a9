"""MCP servers to test against, each a script that runs by itself.

`dual_era`, `conformance` and `features_http` need a package (`mcp`); the others are of the standard library alone, so that they run in
any Python image and never change their behaviour with a library. They must not import `tidegate`.

- `dual_era`     both eras, stdio or Streamable HTTP, on the official SDK
- `legacy_stdio` revisions up to 2025-11-25 over lines, exactly scripted
- `legacy_http`  the same over Streamable HTTP, with sessions that can be forgotten
- `legacy_sse`   the same over HTTP+SSE of 2024-11-05
- `conformance`    what the official conformance suite asks for, both eras, with tasks and skills
- `features_stdio` everything a server can do, of one era, over lines; `features_http` the same over HTTP and SSE
- `broken`       one way of misbehaving each: silent, flooding, crashing, …
- `scripted`     what the legacy ones share: the tools and their answers
- `launch`       starts the ones that listen, for a test, and stops them
"""
