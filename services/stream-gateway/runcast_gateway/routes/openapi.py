"""The streams in the OpenAPI document: they are plain ASGI, which FastAPI knows nothing of."""

from typing import Any

from fastapi import FastAPI

from runcast_service.problem import MEDIA_TYPE


def _text(name: str, place: str, description: str, **more: object) -> dict[str, Any]:
    """A parameter that is a text."""
    return {"name": name, "in": place, "schema": {"type": "string"}, "description": description, **more}


_CURSOR = _text("last_event_id", "query", "An event id, `earliest` (default) or `latest`.", example="1763640000000-12")
_HEADER = _text("Last-Event-ID", "header", "The cursor of an automatic reconnect; wins over the query.")
_TYPES = _text("types", "query", "Only these event types, separated by commas.", example="output")
_TASK = _text("task_id", "query", "Only this task's events.")


_PROBLEM = {"description": "Problem", "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}
_WEBSOCKET = {
    "get": {
        "tags": ["stream"],
        "summary": "Follow a session or a task, and command it, over a WebSocket",
        "operationId": "streams_ws",
        "parameters": [
            {"name": "session_id", "in": "query", "schema": {"type": "string"}, "description": "This or `task_id`."},
            {"name": "task_id", "in": "query", "schema": {"type": "string"}, "description": "Only to its end."},
            _HEADER,
            _CURSOR,
            _TYPES,
        ],
        "responses": {
            "101": {"description": "A WebSocket: each frame is a text message of JSON"},
            **dict.fromkeys(("400", "403", "404", "426", "429", "503"), _PROBLEM),
        },
    }
}


def describe_streams(app: FastAPI) -> None:
    """Have `app` describe what it does not route."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        document["paths"].setdefault("/stream/sessions/{session_id}", _path("session", "Follow a session", [_TASK]))
        document["paths"].setdefault("/stream/tasks/{task_id}", _path("task", "Follow a task to its end", []))
        document["paths"].setdefault("/stream/ws", _WEBSOCKET)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _path(kind: str, summary: str, more: list[dict[str, Any]]) -> dict[str, Any]:
    name = {"name": f"{kind}_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "get": {
            "tags": ["stream"],
            "summary": summary,
            "operationId": f"streams_{kind}",
            "parameters": [name, _HEADER, _CURSOR, _TYPES, *more],
            "responses": {
                "200": {"description": "Server-sent events, without end", "content": {"text/event-stream": {}}},
                "204": {"description": "Nothing will ever follow the cursor: do not reconnect"},
                **dict.fromkeys(("400", "404", "429", "503"), _PROBLEM),
            },
        }
    }
