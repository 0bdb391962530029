"""Builds every room from the settings, starts it, stops it in order; nobody imports it but the command."""
