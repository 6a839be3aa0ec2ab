"""What an event is made of: its fields, its ids, its visitor, and what privacy leaves of them."""
