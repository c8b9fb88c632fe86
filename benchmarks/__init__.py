"""Benchmarks: contestants do the same work in one process, timed by medians of interleaved repetitions."""
