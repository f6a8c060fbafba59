"""The report's plots, one kind a module: each takes figures and returns drawings."""
