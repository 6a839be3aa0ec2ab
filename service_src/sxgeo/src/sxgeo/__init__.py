"""sxgeo: adds the place of the visitor's address to events, from a Sypex Geo database."""
