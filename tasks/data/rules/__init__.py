"""What makes a row unfit to learn from: the rules, their thresholds, and the tally that a report is made of."""
