"""How conf.yml and the environment become one `Settings`: keys, defaults, checks. Imports nothing of ours."""
