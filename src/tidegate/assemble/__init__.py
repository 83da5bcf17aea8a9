"""From settings to a running gateway. The only package that knows every part, and it decides nothing else.

`plant` opens what outlives a reload, `launchers` says how each server is launched, `gateway` puts what serves
on it, `run` runs it all until it is told to stop, `background` keeps what runs beside it. `source` is the
settings file, `follow` sees it change, `reload` takes it.
"""

from tidegate.assemble.plant import clean
from tidegate.assemble.run import serve
from tidegate.assemble.source import SettingsFile

__all__ = ["SettingsFile", "clean", "serve"]
