"""Solvers: one step of a one-step method, and their Butcher tableaus."""
