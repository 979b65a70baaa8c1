"""The dependency graph of transactions, and the search for cycles in it."""
