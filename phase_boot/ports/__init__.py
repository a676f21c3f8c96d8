"""What the machine asks of the world: small Protocols, each with a real adapter and a fake."""
