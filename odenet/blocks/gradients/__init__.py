"""Gradient methods: ways to differentiate a solve."""
