"""`train.distributed`: how several processes are started, share a batch and a base, and end together."""
