"""The training child process: what it is told, how it is started and watched, and the loop that it runs."""
