"""What this machine has, what a config lacks here, and how to mend it: a topic a file, `examine` goes through all."""
