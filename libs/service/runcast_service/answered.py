"""What a request was answered with, noted on its way out."""

from starlette.types import Message, Send


class Answered:
    """Stands in for an ASGI `send`. `status`: 500 until a response starts, for that is what an error comes to."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
