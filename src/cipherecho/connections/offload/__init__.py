"""Which lines are too slow for the event loop, and the threads that code them."""
