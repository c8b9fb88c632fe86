"""Benchmarks: the same work side by side in one process, medians of interleaved repetitions."""
