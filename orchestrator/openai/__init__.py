"""The OpenAI-compatible door: bodies in, sessions run, answers and server-sent events out. It decides nothing else."""
