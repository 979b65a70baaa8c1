"""Where a run's links are made faulty: a proxy in the path, or the nodes' kernels."""
