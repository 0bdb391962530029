"""How log lines, metrics and spans are named, what they look like, where they go. Imports the nouns."""
