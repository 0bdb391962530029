"""How rows are kept: tables, group commit, claims, fences, column widths. Imports discovery and below."""
