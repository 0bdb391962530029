"""How a branch is called: urls, headers, deadlines; what its answer means. Imports discovery and below."""
