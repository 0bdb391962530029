"""The registration API: HTTP `POST /register`, a saga of two steps. `python -m branches.api -f FILE`."""
