"""Long trials, run by `scripts/trial NAME`: each prints the report that is kept under `docs/trials/`.

A trial that finds something wrong says so on standard error, ends with status 1 and leaves no report.
"""
