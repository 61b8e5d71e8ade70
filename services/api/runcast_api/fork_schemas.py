"""The body and the answer of a fork."""

from pydantic import BaseModel, ConfigDict, Field

from runcast_api.schemas import EVENT_ID, SESSION_ID, Body
from runcast_events.events import ForkedFrom
from runcast_tasks.fork import Fork

FORK_ID = "s2"


class ForkRequest(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"at": EVENT_ID, "session_id": FORK_ID}]})

    at: str | None = Field(None, description="Id of an event of the session. Left out: its newest.")
    session_id: str | None = Field(
        None, description="The new session's: 1 to 64 of A-Z a-z 0-9 _ -. With it the fork is idempotent."
    )


class ForkLinks(BaseModel):
    """Paths. `events`: the new session's live stream, Server-Sent Events."""

    self_: str = Field(alias="self", examples=[f"/api/sessions/{FORK_ID}"])
    events: str = Field(examples=[f"/stream/sessions/{FORK_ID}"])


class ForkReceipt(BaseModel):
    session_id: str = Field(examples=[FORK_ID])
    forked_from: ForkedFrom = Field(examples=[{"session_id": SESSION_ID, "event_id": EVENT_ID}])
    links: ForkLinks

    @classmethod
    def of(cls, fork: Fork) -> "ForkReceipt":
        path = f"/api/sessions/{fork.session_id}"
        links = ForkLinks(self=path, events=f"/stream/sessions/{fork.session_id}")
        return cls(session_id=fork.session_id, forked_from=fork.origin, links=links)
