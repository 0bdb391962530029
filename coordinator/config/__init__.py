"""How conf.yml and the environment become `Settings`, or what is wrong with them. Imports discovery and below."""
