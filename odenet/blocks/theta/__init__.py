"""θ(t): how the parameters of a vector field move over depth."""
