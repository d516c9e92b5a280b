"""What an artifact is made from: inputs, code and config as one key; and what changed between two of them."""
