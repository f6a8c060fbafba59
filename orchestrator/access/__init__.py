"""Who may call, whose sessions are whose, and how much each may ask for: one set of rules for gRPC and HTTP."""
