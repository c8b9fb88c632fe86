"""Residual flows: θ(t) × stepping × gradient."""
