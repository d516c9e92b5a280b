"""A sweep: what it is asked, which trials it makes, each trial, and what was found; `flows/sweep.py` is its flow."""
