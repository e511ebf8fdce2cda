"""Which model writes better: ratings from matches, and tournaments that play them."""
