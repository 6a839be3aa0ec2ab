"""mmgeo: adds the place of the visitor's address to events, from a MaxMind DB."""
