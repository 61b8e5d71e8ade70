"""todos: the list of what is left to do, as people see it beside the task."""

from typing import Annotated

from pydantic import Field, JsonValue

from runcast_events.events import Todo, TodosUpdated
from runcast_worker.tools import Arguments, Surroundings, Tell


class TodoItem(Arguments):
    text: Annotated[str, Field(min_length=1, max_length=300)]
    """What is to be done, in a few words."""
    done: bool = False


class TodosArguments(Arguments):
    todos: Annotated[list[TodoItem], Field(max_length=50)]
    """All of them, done ones too, in the order in which they are to be done."""


class Todos:
    """The list replaces the one before. The result counts what is open."""

    name = "todos"
    description = (
        "Keep a list of what is to be done, which people see. Send the whole list every time: it replaces the one "
        "before. Use it for work of three steps or more, and tick each off as soon as it is done."
    )
    arguments = TodosArguments
    changes = False

    async def call(self, arguments: TodosArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        todos = [Todo(id=str(i), text=todo.text, done=todo.done) for i, todo in enumerate(arguments.todos, 1)]
        await tell.event(TodosUpdated(todos=todos))
        done = sum(todo.done for todo in todos)
        return f"{len(todos)} todos: {done} done, {len(todos) - done} open"
