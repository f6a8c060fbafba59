"""The chart on a real node: `python -m tests.cluster.node_proof --help`."""
