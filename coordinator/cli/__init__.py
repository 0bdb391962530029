"""The command `dtm`: flags, subcommands, exit codes. No rules. Imports server, client, config and below."""
