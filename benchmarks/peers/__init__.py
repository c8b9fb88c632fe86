"""The packages that odenet is measured against, and the problems that all of them solve."""
