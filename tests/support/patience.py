"""How long tests wait before they give up.

Their own limits fit a machine that nobody else uses. A limit that ends a wait costs nothing while all goes
well, so each is multiplied by this.
"""

PATIENCE = 3
