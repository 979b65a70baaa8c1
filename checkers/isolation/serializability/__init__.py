"""Serializability and snapshot isolation where the order of versions is unknown."""
