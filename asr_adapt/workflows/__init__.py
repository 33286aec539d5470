"""Compositions of stages: runs, the demo, the transfer table."""
