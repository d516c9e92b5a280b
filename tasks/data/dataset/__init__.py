"""From triplets to a dataset to train on: split by document, fit to the length, packed, and counted."""
