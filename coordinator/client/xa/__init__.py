"""XA in a business database: prepared, later committed or rolled back. Imports barriers and below."""
