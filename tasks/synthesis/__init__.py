"""From documents to questions with grounded answers: chunks, and who writes of them."""
