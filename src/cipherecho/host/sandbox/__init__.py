"""The sandbox: drops rights that a running server doesn't need, and runs processes beside it."""
