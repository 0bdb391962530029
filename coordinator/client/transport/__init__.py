"""How coordinator and branches are asked; what answers mean. Imports errors, discovery, proto, the nouns."""
