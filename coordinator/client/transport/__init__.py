"""How coordinator and branches are asked; what answers mean. Imports extras and below."""
