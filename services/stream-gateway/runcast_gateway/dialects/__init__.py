"""What frames look like to a client."""
