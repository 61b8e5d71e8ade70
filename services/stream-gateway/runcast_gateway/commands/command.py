"""What a WebSocket client may want of its session, read from a message and put as a request to the api. Pure."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from runcast_events.errors import InvalidId
from runcast_events.ids import session_of
from runcast_service.problem import Problem, invalid_fields

_TEXT = TypeAdapter(Annotated[str, Field(strict=True, min_length=1, max_length=200)])
_CALL = TypeAdapter(Annotated[str, Field(strict=True, pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")])
_KEY = TypeAdapter(Annotated[str, Field(strict=True, pattern=r"^[!-~]{1,255}$")])


class Command(BaseModel):
    """The members of every command; what else it has is the type's own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    request_id: Annotated[str, Field(min_length=1, max_length=64)]
    type: Literal["submit", "cancel", "pause", "resume", "approve", "input"]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A POST. `path` begins with a slash; nothing in it needs to be escaped."""

    path: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def parse_message(text: str | None) -> object:
    """The JSON of a message; None: the message was binary. Raises Problem."""
    if text is None:
        raise Problem(400, "invalid_json", "the message is binary: expected text, an object of JSON")
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the message is not valid JSON: {error}") from None


def parse_command(document: object) -> Command:
    """Raises Problem."""
    if not isinstance(document, dict):
        raise Problem(422, "invalid_command", 'expected an object: {"request_id": …, "type": …, …}')
    try:
        return Command.model_validate(document)
    except ValidationError as error:
        raise invalid_fields("invalid_command", error.errors()) from None


def api_request(command: Command, session_id: str) -> ApiRequest:
    """The command as the api takes it, which checks the rest. A task that is not of this session, and another session,
    are refused. Raises Problem."""
    fields = dict(command.model_extra or {})
    if fields.pop("session_id", session_id) != session_id:
        raise Problem(422, "invalid_command", f"session_id: this stream is of the session {session_id}; leave it out")
    if command.type == "submit":
        return _submit(fields, session_id)
    path = f"/api/tasks/{_task_id(fields, session_id)}/"
    path += f"approvals/{_checked(_CALL, fields, 'tool_call_id')}" if command.type == "approve" else command.type
    return ApiRequest(path, _encoded(fields))


def _submit(fields: dict[str, Any], session_id: str) -> ApiRequest:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if "idempotency_key" in fields:
        key = _checked(_KEY, fields, "idempotency_key")
        headers = ((b"idempotency-key", key.encode()),)
    return ApiRequest("/api/tasks", _encoded({**fields, "session_id": session_id}), headers)


def _task_id(fields: dict[str, Any], session_id: str) -> str:
    task_id = _checked(_TEXT, fields, "task_id")
    try:
        owner = session_of(task_id)
    except InvalidId as error:
        raise Problem(422, "invalid_command", f"task_id: {error}") from None
    if owner != session_id:
        raise Problem(422, "invalid_command", f"task_id: {task_id} is not a task of the session {session_id}")
    return task_id


def _checked(of: TypeAdapter[str], fields: dict[str, Any], name: str) -> str:
    """Take a field out. Raises Problem."""
    try:
        return of.validate_python(fields.pop(name, None))
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid_fields("invalid_command", [{"loc": (name,), "msg": first["msg"]}]) from None


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        return to_json(fields)
    except PydanticSerializationError:
        raise Problem(400, "invalid_json", "the message has text that is not Unicode") from None
