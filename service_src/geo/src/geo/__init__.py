"""What enrichers of places share: databases kept fresh, addresses, places, cached look-ups, transliteration."""
