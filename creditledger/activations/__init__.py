"""How outputs compare: commitments to activations and the distance between two of them."""
