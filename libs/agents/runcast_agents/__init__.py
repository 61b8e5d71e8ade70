"""The model of `agents.toml`, read by the api (which names exist) and the worker (how each one runs)."""

from runcast_agents.agents import Agent, Agents
from runcast_agents.file import InvalidAgents, load_agents
from runcast_agents.limits import Limits, SandboxPolicy
from runcast_agents.servers import McpServer

__all__ = ["Agent", "Agents", "InvalidAgents", "Limits", "McpServer", "SandboxPolicy", "load_agents"]
