"""How conf.yml and the environment become one immutable `Settings`; knows no other room."""
