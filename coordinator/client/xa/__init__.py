"""XA in a business database: prepared by the branch, later committed or rolled back (PROTOCOL §12)."""
