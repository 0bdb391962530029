"""The patterns: pure functions from stored rows to the next decision (PROTOCOL §6 to §8)."""
