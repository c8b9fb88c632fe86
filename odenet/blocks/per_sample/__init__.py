"""Error control for each sample: every sample of a batch has a t and an h of its own."""
