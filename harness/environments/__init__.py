"""Environments by name; each entry is a function ``(*, nodes, run_dir, seed, options)``."""

ENVIRONMENTS: dict[str, str] = {
    "sim": "harness.environments.sim:sim",
    "local": "harness.environments.local:local",
    "netns": "harness.environments.netns:netns",
    "docker": "harness.environments.docker:docker",
    "ssh": "harness.environments.ssh:ssh",
}
