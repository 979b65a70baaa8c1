"""Membership by gossip, and the leader that emerges from it: parts that a core owns."""
