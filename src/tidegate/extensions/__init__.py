"""Adapters for the kinds in `ports/`, found through `extensions.table`. They never import each other."""
