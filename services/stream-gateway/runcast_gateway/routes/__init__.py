"""What clients ask for: the ways in, and where a stream begins."""
