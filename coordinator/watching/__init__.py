"""What looks at calls, statements, backlog and tells telemetry; readiness. Imports calls, store and below."""
