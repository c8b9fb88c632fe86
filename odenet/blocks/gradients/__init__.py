"""Gradient methods: how the derivatives of a solve are computed."""
