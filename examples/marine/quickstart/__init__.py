"""What `scripts/quickstart` does once Python is there.

`options` reads the command line, `host` finds out what this machine has, `place` lays data and settings under
`.quickstart/`, `gateway` owns the one child process, `story` is the order of it all. What people are to learn
from here is how little it takes; nothing of the gateway depends on it.
"""
