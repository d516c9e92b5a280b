"""From an adapter in the store to a server that answers with it."""
