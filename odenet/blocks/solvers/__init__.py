"""Solvers: one step of a numerical method over an interval of depth-time."""
