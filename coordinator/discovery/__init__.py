"""Who serves a name: etcd, DNS, branch targets, logins in addresses. Imports telemetry and the nouns."""
