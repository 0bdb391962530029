"""Clients that others wrote, unchanged, against our coordinator."""
