"""The operations of the protocol: one implementation under HTTP, gRPC and JSON-RPC (PROTOCOL §5).

Signatures first; the body follows.
"""
