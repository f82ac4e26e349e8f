"""What is served, where, and on what terms: plain data."""
