"""Helpers that the figures share; the figures themselves are in the folder above."""
