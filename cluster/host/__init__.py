"""The host of a core, sans-IO: one set of rules, run by the runtime, the simulation and tests."""
