"""The bodies of commands to a task, and their receipt."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runcast_api.schemas import TASK_ID, Body, Document, Prompt, TaskState

Reason = Annotated[str, Field(max_length=1000)]


class PauseRequest(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "let me look first"}]})

    reason: Reason | None = None


class ResumeRequest(Body):
    """Nothing can be said with it."""


class ApprovalRequest(Body):
    """`arguments`: to call with instead of the agent's; only of what is approved."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"decision": "approved"}]})

    decision: Literal["approved", "rejected"]
    arguments: Document | None = None
    reason: Reason | None = Field(None, description="Told to the agent where the call is rejected.")

    @model_validator(mode="after")
    def _of_what_is_approved(self) -> "ApprovalRequest":
        if self.decision == "rejected" and self.arguments is not None:
            raise ValueError("arguments are for a call that is approved")
        return self


class InputRequest(Body):
    """What the agent's model is told before it is asked the next time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Only the Python files, please.", "input_id": "a1b2c3"}]}
    )

    text: Prompt
    input_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        None, description="Of your own: what is sent again with the same one is said once."
    )


class CommandReceipt(BaseModel):
    """`state`: the task's now. A running one that was asked to pause pauses a little later."""

    task_id: str = Field(examples=[TASK_ID])
    state: TaskState

    @classmethod
    def of(cls, task_id: str, state: str) -> "CommandReceipt":
        return cls.model_validate({"task_id": task_id, "state": state})
