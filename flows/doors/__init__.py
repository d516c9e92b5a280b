"""The commands of the terminal, a file for each thing that one comes for; `flows/cli.py` lists them."""
