"""Launcher: the short program between the gateway and a sandboxed server.

It runs in a process of its own (`python -I -S -c …`), takes a job as JSON, joins the cgroups, as root
gives its uid away, enters the sandbox and becomes the server. It must import nothing but the standard
library and its own modules, start no thread and trust no variable of the environment.

Order matters in it: cgroups are joined while we still may; mounts are made while we are root; the uid
is given away before the sandbox is entered, or limits on it would not hold; the filter comes last,
since it forbids what was needed before.
"""
