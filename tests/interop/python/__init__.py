"""Programs that use other people's Python clients; each prints a line for each of its patterns."""
