"""What a saga, msg, TCC, XA or workflow asks of the coordinator, step by step. Imports xa and below."""
