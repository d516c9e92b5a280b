"""`train.fit`: what a step takes, by prediction, what there is, and how the effective batch is cut to it."""
