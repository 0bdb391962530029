"""The barrier in a business database: which branch call may do its work, once (PROTOCOL §12)."""
