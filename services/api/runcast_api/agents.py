"""GET /api/agents."""

from fastapi import APIRouter

from runcast_api.agent_schemas import AgentDocument, AgentList
from runcast_api.state import ApiState

router = APIRouter(tags=["agents"])


@router.get("/api/agents", operation_id="agents_list", summary="The agents a task may name")
async def agents_list(state: ApiState) -> AgentList:
    return AgentList(data=[AgentDocument.of(name, agent) for name, agent in state["agents"].items()])
