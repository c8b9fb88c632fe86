"""Stepping: where the steps of a solve lie."""
