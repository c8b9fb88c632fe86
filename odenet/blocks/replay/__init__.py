"""Repeated evaluations of a branch: the tensors it reads, and the state it has to find again."""
