"""Wrong clocks of nodes: libfaketime for foreign processes, the chaos endpoint for ours."""
