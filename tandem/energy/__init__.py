"""Energy as hardware counters tell it: read, and divided among the texts that it was used for. Never estimated."""
