"""Engines that decide who may do what. See `tidegate.ports.policy`."""
