"""Who serves a name: registering in etcd, resolving branch targets. Imports telemetry and the nouns."""
