"""What clients of a WebSocket want done: asked of the api."""
