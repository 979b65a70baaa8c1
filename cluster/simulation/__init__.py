"""The same protocol code in virtual time: one seed, one run.

    world         the World: everything of a run; begin here
    node          hosts a core over its storage, as the runtime does; each life of it has
    node_timer storage_thread              of its own
    network disk clock heap randomness     what lies below the ports, simulated
    connections   of clients to nodes, as TCP makes, keeps and breaks them
    sessions      clients: the real session core, and the history of its operations
    invariants    promises watched after every event
    trace         the digest of a run, and its latest events in words
    liveness      after the faults: does it live, serve and remember?
    schedule, schedule_text, schedule_commands     directed schedules, a text language
    schedule_stage, schedule_services              what their commands act on; leases, watches
    swarm         a run of a random profile, which follows from its seed
    profiles faults load                   what it draws, what it injects, what clients do
    availability  trials of a healed system

Public; it uses nothing but the cluster.
"""
