"""The edge to gRPC: messages to values and back, errors to status codes and back, life cycle, channels."""

PROTOCOL_VERSION = 1
"""Version of the wire contract in ``protos/``. A peer of another version is refused."""
