"""Stores of small values."""
