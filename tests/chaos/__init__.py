"""The coordinator among things that die, hang and come back: processes, databases, services."""
