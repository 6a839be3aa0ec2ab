"""What an operator can ask for, and how a container is replaced without a gap."""
