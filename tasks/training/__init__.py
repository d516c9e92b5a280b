"""The training child process: its settings, how it is started and watched, and what it does."""
