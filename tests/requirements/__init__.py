"""What the specification demands, revision by revision, and the tests that show it is met.

`<revision>/*.toml` name every MUST of a revision, collected from modelcontextprotocol/modelcontextprotocol at
b0f60ba (2026-08-22; `at` is a page below docs/specification/<revision>); `test_manifest.py` checks them both ways.
The other files test what no other suite had reason to.
"""
