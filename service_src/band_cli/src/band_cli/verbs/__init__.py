"""The verbs by subject: each function asks the director and writes its response."""
