"""Scenes drawn from a seed, with targets for every problem of computer vision."""
