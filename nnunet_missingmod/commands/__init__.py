"""One module per command: its arguments, its exit code, what it prints."""
