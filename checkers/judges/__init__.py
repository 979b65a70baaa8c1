"""One checker for each vocabulary of operations: sets, queues, locks, leases, watches and more."""
