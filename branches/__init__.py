"""Reference business services: user and score over gRPC, the registration API over HTTP."""
