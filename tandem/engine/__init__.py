"""Model execution: sequences, their KV memory and one forward pass over many of them. No gRPC, no Redis."""
