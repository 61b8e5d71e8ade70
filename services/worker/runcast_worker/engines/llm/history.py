"""What a model is told: the session's conversation, the task, and what was said and done in it since."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from runcast_tasks.conversation import Message
from runcast_tasks.inputs import Input
from runcast_worker.engines.llm.parts import whole_characters

logger = logging.getLogger(__name__)


class _Checkpoint(BaseModel):
    kind: Literal["llm-1"]
    ended: bool
    messages: list[ModelMessage]


class History:
    """`conversation`: of the session's earlier tasks, oldest first."""

    def __init__(self, instructions: str, conversation: Sequence[Message], prompt: str) -> None:
        self._instructions = instructions
        self._earlier = [self._message(message) for message in conversation]
        self._heard: set[str] = set()
        self.ended = False
        self._own: list[ModelMessage] = [self._request([UserPromptPart(prompt)])]

    @classmethod
    def load(
        cls, instructions: str, conversation: Sequence[Message], prompt: str, checkpoint: bytes | None
    ) -> "History":
        """As another attempt left it, if one did. One that cannot be read, as of another engine, is left alone."""
        history = cls(instructions, conversation, prompt)
        if checkpoint is None:
            return history
        try:
            saved = _Checkpoint.model_validate_json(checkpoint)
        except ValidationError as error:
            logger.warning("a checkpoint of another kind: the task begins anew: %s", error.errors()[0]["type"])
            return history
        history._own, history.ended = saved.messages, saved.ended
        return history

    def dump(self, *, ended: bool = False) -> bytes:
        """What was said and done in this task; the earlier conversation is the session's. `ended`: its last answer has
        been told, with the end of its iteration."""
        return _Checkpoint(kind="llm-1", ended=ended, messages=self._own).model_dump_json().encode()

    @property
    def answers(self) -> int:
        """How often the model has answered in this task: its iterations so far."""
        return sum(isinstance(message, ModelResponse) for message in self._own)

    @property
    def unanswered(self) -> ModelResponse | None:
        """The answer whose calls have not been told of yet."""
        last = self._own[-1]
        return last if isinstance(last, ModelResponse) else None

    @property
    def messages(self) -> list[ModelMessage]:
        return [*self._earlier, *self._own]

    def answered(self, response: ModelResponse) -> None:
        self._own.append(replace(response, parts=[_writable(part) for part in response.parts]))

    def heard(self, said: Input) -> bool:
        """Somebody said this to the task. False: that is known, and only waits to be written."""
        if said.name in self._heard:
            return False
        self._heard.add(said.name)
        self.ended = False
        self._own.append(self._request([UserPromptPart(said.text)]))
        return True

    def called(self, results: Sequence[ToolReturnPart]) -> None:
        self._own.append(self._request(results))

    def forget(self) -> bool:
        """Leave out the older half of the earlier conversation. False: there is none left."""
        if not self._earlier:
            return False
        self._earlier = self._earlier[(len(self._earlier) + 1) // 2 :]
        return True

    def _message(self, message: Message) -> ModelMessage:
        if message.role == "user":
            return self._request([UserPromptPart(message.content)])
        return ModelResponse([TextPart(message.content)])

    def _request(self, parts: Sequence[UserPromptPart | ToolReturnPart]) -> ModelRequest:
        return ModelRequest(parts, instructions=self._instructions)


def _writable(part: ModelResponsePart) -> ModelResponsePart:
    """Without surrogates: halves of characters, which no provider takes back."""
    if isinstance(part, TextPart | ThinkingPart) and part.content:
        return replace(part, content=whole_characters(part.content)[0])
    if isinstance(part, ToolCallPart) and isinstance(part.args, str) and part.args:
        return replace(part, args=whole_characters(part.args)[0])
    return part
