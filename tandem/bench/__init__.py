"""``tandem bench``: this stack, one process of it, and what people use otherwise, timed by turns on the same work."""
