"""Faults that random runs inject: one small function for each kind.

context       what a fault may look at and act on
links         partitions, bad packets, one frame held back
processes     crashes and pauses
clocks        clocks that are wrong
disks         slow, full, failing and torn disks; power lost between two operations
leadership    leadership handed over, members changed
table         all kinds by name, and which of them a consensus variant can have
gremlin       injects them at random times, and heals them
"""
