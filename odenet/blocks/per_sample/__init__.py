"""Error control per sample: every sample of a batch has its own t and its own step h."""
