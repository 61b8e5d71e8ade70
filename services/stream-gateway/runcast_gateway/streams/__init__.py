"""Open streams: each owns a cursor, is live in a group, or reads the log."""
