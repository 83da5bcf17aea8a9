"""The settings file: its models, loading it, and every mistake in it with file, line and path.

Knows the nouns of `domain` and nothing else of the gateway; what extensions there are comes in as an
argument. `load` and `parse` are the way in, `Settings` is what comes out.
"""

from tidegate.settings.load import Extensions, Places, load, parse, places, read_text, state_directory
from tidegate.settings.settings import SecretsKept, Settings

__all__ = [
    "Extensions",
    "Places",
    "SecretsKept",
    "Settings",
    "load",
    "parse",
    "places",
    "read_text",
    "state_directory",
]
