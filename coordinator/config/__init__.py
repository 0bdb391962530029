"""How conf.yml and the environment become `Settings`, or why they cannot. Imports discovery and below."""
