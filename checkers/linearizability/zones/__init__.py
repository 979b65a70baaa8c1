"""Registers whose values are written once: decided by zones, without search."""
