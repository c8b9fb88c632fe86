"""Adapters of the packages that odenet is compared with, and the problems that all of them solve."""
