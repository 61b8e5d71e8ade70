"""The shapes of OpenAI's chat completions: chunks of a stream, the whole at once, usage, errors. Pure.

https://platform.openai.com/docs/api-reference/chat-streaming; `reasoning_content` is what DeepSeek, vLLM and others
add to it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from runcast_local.model.asked import Asked
from runcast_local.model.script import Call, Finish, KeepAlive, Piece, Raw, Refusal, Refuse, Say, Think, Turn

DONE = b"data: [DONE]\n\n"
CREATED = 1_700_000_000
"""A fixed time, so that the same request has the same answer."""


def frame(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


class Chunks:
    """Of one answer: its calls get their indexes in order."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._calls = asked, 0
        options = asked.completion.stream_options
        self.tells_usage = options is not None and options.include_usage

    def first(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def of(self, piece: Piece) -> Iterator[bytes]:
        """None for a piece that is no output."""
        match piece:
            case Say(text):
                yield self._chunk({"content": text})
            case Think(text):
                yield self._chunk({"reasoning_content": text})
            case Refuse(text):
                yield self._chunk({"refusal": text})
            case Raw(data):
                yield frame(data)
            case KeepAlive():
                yield b": processing\n\n"
            case Call():
                yield from self._call(piece)

    def last(self, turn: Turn) -> bytes:
        end = self._chunk({}, finish_of(turn))
        if self.tells_usage:
            end += frame(json.dumps(self._head() | {"choices": [], "usage": usage(self._asked, turn)}))
        return end + DONE

    def _call(self, call: Call) -> Iterator[bytes]:
        index, self._calls = self._calls, self._calls + 1
        start = {"index": index, **call_of(call, self._asked, index)}
        arguments = start["function"]["arguments"]
        start["function"] = {"name": call.name, "arguments": ""}
        yield self._chunk({"tool_calls": [start]})
        for begin in range(0, len(arguments), call.piece):
            piece = {"index": index, "function": {"arguments": arguments[begin : begin + call.piece]}}
            yield self._chunk({"tool_calls": [piece]})

    def _chunk(self, delta: dict[str, Any], finish: Finish | None = None) -> bytes:
        chunk = self._head() | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        if self.tells_usage:
            chunk["usage"] = None
        return frame(json.dumps(chunk, ensure_ascii=False))

    def _head(self) -> dict[str, Any]:
        return _head(self._asked, "chat.completion.chunk")


def whole(asked: Asked, turn: Turn) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    calls = [piece for piece in turn.pieces if isinstance(piece, Call)]
    message: dict[str, Any] = {"role": "assistant", "content": _joined(turn, Say) or None}
    message["refusal"] = _joined(turn, Refuse) or None
    if thinking := _joined(turn, Think):
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = [call_of(call, asked, index) for index, call in enumerate(calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(turn)}
    return _head(asked, "chat.completion") | {"choices": [choice], "usage": usage(asked, turn)}


def call_of(call: Call, asked: Asked, index: int) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments))
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id or f"call_{asked.number}_{index}", "type": "function", "function": function}


def finish_of(turn: Turn) -> Finish:
    return turn.finish or ("tool_calls" if any(isinstance(piece, Call) for piece in turn.pieces) else "stop")


def usage(asked: Asked, turn: Turn) -> dict[str, Any]:
    tokens = [_tokens(json.dumps(message)) for message in asked.messages]
    prompt = sum(tokens) if turn.input_tokens is None else turn.input_tokens
    cached = min(sum(tokens[:-1]), prompt) if turn.cached_tokens is None else turn.cached_tokens
    reasoning = _tokens(_joined(turn, Think))
    said = "".join(json.dumps(call_of(piece, asked, 0)) for piece in turn.pieces if isinstance(piece, Call))
    output = reasoning + _tokens(_joined(turn, Say) + said) if turn.output_tokens is None else turn.output_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": min(reasoning, output)},
    }


def problem(refusal: Refusal) -> bytes:
    error = {"message": refusal.message, "type": refusal.type, "param": None, "code": refusal.code}
    return json.dumps({"error": error}).encode()


def models(names: Sequence[str]) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "runcast"} for name in names]
    return {"object": "list", "data": data}


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{asked.number}", "object": kind, "created": CREATED, "model": asked.model}


def _joined(turn: Turn, kind: type[Say] | type[Think] | type[Refuse]) -> str:
    return "".join(piece.text for piece in turn.pieces if isinstance(piece, kind))


def _tokens(text: str) -> int:
    return (len(text) + 3) // 4
