"""What a running server gives up, and the processes that do the rest for it."""
