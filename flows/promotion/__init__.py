"""What becomes of adapters: decided by the gate or by a person, listed, compared, mirrored to a registry."""
