"""How requests are read and answers written: HTTP, gRPC, JSON-RPC. No rules. Imports service and below."""
