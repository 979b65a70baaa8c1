"""Checkers: judge a history, with no harness present."""
