"""Who serves a name: etcd, DNS, branch targets, logins in addresses. Imports the nouns."""
