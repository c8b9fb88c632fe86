"""Drills: what must hold when processes are killed, files are damaged or hostile, and dynamics are hard.

In the suite they take seconds; `make drills` does the same for as long as it takes to be sure, and counts.
"""
