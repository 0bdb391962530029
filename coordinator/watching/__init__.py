"""What looks at calls, statements and stored transactions, and tells `telemetry` of them."""
