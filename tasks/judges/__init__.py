"""Judges: models that read an answer beside its question, its context or its reference. They report, and never gate."""
