"""A person at the UI that ships as default: the run form, a field changed, the run watched, its artifacts opened.

Screenshots are kept in the folder that REGROUND_SCREENSHOTS names, else in the test's own.
"""
