"""What other products' clients send, and the responses that they expect: one module for each family of clients."""
