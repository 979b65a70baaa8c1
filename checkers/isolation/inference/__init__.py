"""From a transaction table to version orders and dependencies, each with its proof."""
