"""GET /api/agents."""

from fastapi import APIRouter

from runcast_api.schemas import AgentDocument, AgentList
from runcast_api.state import ApiState

router = APIRouter(tags=["agents"])


@router.get("/api/agents", operation_id="agents_list", summary="The agents a task may name")
async def agents_list(state: ApiState) -> AgentList:
    return AgentList(
        data=[
            AgentDocument(name=name, engine=agent.engine, description=agent.description)
            for name, agent in state["agents"].items()
        ]
    )
