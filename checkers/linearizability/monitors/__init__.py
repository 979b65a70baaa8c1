"""Collections, logs and key-value stores whose values are added once: decided without search."""
