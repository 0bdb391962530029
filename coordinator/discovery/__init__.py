"""Who serves a name: registering this server, resolving branch targets."""
