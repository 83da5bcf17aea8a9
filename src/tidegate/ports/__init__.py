"""One Protocol for each kind of part that can be exchanged, with at most five methods.

Adapters stand in `extensions/`; fakes and real ones pass the same contract suites, which are in
`tidegate.testing`. Nothing here does I/O.
"""
