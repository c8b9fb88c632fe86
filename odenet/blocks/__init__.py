"""Residual flows: ODE blocks made of θ(t), a stepping, a gradient method and noise on the steps."""
