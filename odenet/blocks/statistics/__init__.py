"""Statistics of normalizations along a solve."""
