"""Several processes as one coordinator: started, watched and ended. Imports server, config and below."""
