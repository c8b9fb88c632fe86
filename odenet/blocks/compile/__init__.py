"""Compilation of solves by torch.compile, an optional speed-up that does not change results."""
