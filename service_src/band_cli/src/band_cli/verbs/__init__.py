"""What the verbs do, by what they are about: each function asks the director and writes what it says."""
