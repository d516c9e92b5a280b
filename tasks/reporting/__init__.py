"""The report's parts: the comparison, its examples, and how they look on a page, in Markdown and in a terminal."""
