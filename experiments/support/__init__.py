"""Helpers that the experiments share; the experiments themselves are in the folder above."""
