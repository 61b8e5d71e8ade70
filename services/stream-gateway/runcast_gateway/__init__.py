"""Runcast's stream gateway: replays a session's event log from a cursor and tails it, to any number of SSE clients."""
