"""mmgeo: adds the place of the visitor's address to events, from a MaxMind DB.

`check` reads a new database once in a child process, before it is used.
"""
