"""Rows looked at by people, in a browser: what they decide stands beside the data, and goes into it."""
