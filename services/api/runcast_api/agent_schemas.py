"""What the api tells of agents."""

from pydantic import BaseModel, Field

from runcast_agents import Agent, Limits

WITH_TOOLS = ("llm", "python", "demo")
"""Engines that use tools of ours."""


class AgentDocument(BaseModel):
    """What a client needs to choose: nothing of how the agent is run."""

    name: str = Field(examples=["demo"])
    engine: str = Field(examples=["demo"])
    description: str
    model: str | None = Field(description="Null where the engine has none, or the deployment's default is used.")
    models: list[str] = Field(description="What `model` of a task may be. Only agents of the engine llm have a choice.")
    tools: list[str] = Field(examples=[["read_file", "search"]])
    mcp: list[str] = Field(description="Names of the servers that give it more tools.")
    read_only: bool = Field(description="Tools that could change the workspace are refused.")
    limits: Limits = Field(description="What one task may take; null where there is no limit.")

    @classmethod
    def of(cls, name: str, agent: Agent) -> "AgentDocument":
        return cls(
            name=name,
            engine=agent.engine,
            description=agent.description,
            model=agent.model,
            models=choosable(agent),
            tools=list(agent.tools) if agent.engine in WITH_TOOLS else [],
            mcp=list(agent.mcp),
            read_only=agent.read_only,
            limits=agent.limits,
        )


def choosable(agent: Agent) -> list[str]:
    """The models that a task may name: the agent's own first."""
    return list(dict.fromkeys(name for name in (agent.model, *agent.models) if name is not None))


class AgentList(BaseModel):
    data: list[AgentDocument]
