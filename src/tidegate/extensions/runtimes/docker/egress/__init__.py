"""Egress: workloads that reach what a list names and nothing else, and how this machine reaches them.

Such a workload is put into the network name space of a sidecar, the *cell*, whose only cable ends in a second one, the
*outlet*. What runs in those two is in `sidecar`; what they are made of in `parts`, their life in `outlets`.
Why so is in `docs/decisions/0016-egress.md`.
"""
