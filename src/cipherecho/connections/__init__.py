"""One connection's life, and the two drivers that serve it."""
