"""The score service: gRPC `userscore.UserScore` and compensation. `python -m branches.score -f FILE`."""
