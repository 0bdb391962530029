"""Programs that use other people's Python clients; each is a process of its own and prints a line a pattern."""
