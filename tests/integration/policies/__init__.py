"""Engines that decide, as they really are."""
