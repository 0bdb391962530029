"""The user service: gRPC `user.User`, `saveUser` and its compensation. `python -m branches.user -f FILE`."""
