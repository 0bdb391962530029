"""Branch calls over HTTP and gRPC: one call, one of four results."""
