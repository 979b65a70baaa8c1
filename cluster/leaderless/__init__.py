"""A leaderless store: any node takes writes, and versions that conflict are kept as siblings."""
