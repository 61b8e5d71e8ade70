"""Ways to a client: what a connection writes to. Each is an asyncio transport whose protocol the connection is."""
