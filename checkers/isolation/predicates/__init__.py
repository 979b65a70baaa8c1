"""Predicate reads: what they match, and the dependencies that follow from them (Adya)."""
