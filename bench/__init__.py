"""How fast the coordinator is, and what a saga costs; `make bench`, see README.md."""
