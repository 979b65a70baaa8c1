"""Ablations whose directed schedule is not written yet, so that the matrix does not show them.

Each module is as those of :mod:`cluster.ablations`. One that gets its schedule moves there.
"""
