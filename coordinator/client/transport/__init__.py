"""How the coordinator and branches are reached over HTTP and gRPC, and what their answers mean."""
