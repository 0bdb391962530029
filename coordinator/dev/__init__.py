"""A coordinator to try out, full of what is stuck. Imports testing, server, client, config and below."""
