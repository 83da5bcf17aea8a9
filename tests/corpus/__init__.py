"""Inputs worth keeping for everything that reads a peer's bytes, and what must hold of any input.

`<reader>.txt` holds one input a line, as a Python bytes literal; a line that begins with `#` says why the ones
below it are kept. `readers.py` has the checks, which the unit tests and the trial `fuzz` share.
"""
