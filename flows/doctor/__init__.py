"""What this machine has, what a config lacks here, and the remedies. `examine` runs every check of its table."""
