"""Whole runs that are killed: what is left is always whole, and the end is always the same."""
