"""The steps of a retraining run, one file each, and what they share."""
