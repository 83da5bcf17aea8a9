"""Sidecar: the program that is the only way out of a workload's network, and the only way in.

It runs in containers of its own, from the base image's Python, so it knows nothing but the standard library and
the modules of this package. The *cell* holds the network namespace that a workload is put into: a loopback, and
one end of a virtual cable. The *outlet* holds the other end. What comes over the cable ends in the outlet's own
kernel, whatever address it is for, and goes no further: nothing is forwarded. What the list allows is accepted
by the outlet, which opens a connection of its own; everything else is refused and told.

Not in here: what containers are made of, and what becomes of what is told.
"""
