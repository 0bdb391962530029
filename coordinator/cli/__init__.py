"""The command `dtm`: knows words on a command line; asks `config` for settings and `server` to run."""
