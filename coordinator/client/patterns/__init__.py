"""What a transaction of each pattern asks of the coordinator, step by step."""
