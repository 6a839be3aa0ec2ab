"""The shared parts of geo services: managed databases, addresses, places, cached lookups, transliteration."""
