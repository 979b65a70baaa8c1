"""Nodes with little processor time or memory: control groups of several owners."""
