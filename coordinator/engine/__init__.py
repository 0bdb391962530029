"""Who drives a transaction, who may call now, what is taken up again, alerts. Imports watching and below."""
