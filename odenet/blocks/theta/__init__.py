"""θ(t): the parameters of a vector field as a function of depth-time."""
