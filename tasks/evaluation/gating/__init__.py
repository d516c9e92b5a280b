"""What the gate is made of: comparisons of two systems, rules, and the decision."""
