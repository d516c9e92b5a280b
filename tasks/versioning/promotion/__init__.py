"""Which adapter is in service: the promotion log, and what its entries say together."""
