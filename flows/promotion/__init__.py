"""What becomes of adapters: settled by the gate or by a person, announced, listed, compared, mirrored."""
