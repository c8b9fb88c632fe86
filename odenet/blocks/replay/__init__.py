"""Repeated evaluation of a branch: the tensors that it reads, and the state that has to be restored."""
