"""Programs that use other people's Python clients; each runs as a process of its own and prints a line a pattern."""
