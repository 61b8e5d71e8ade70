"""Every engine a worker has."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from runcast_agents import load_agents
from runcast_worker.engines import Engine
from runcast_worker.engines.demo import DemoEngine
from runcast_worker.engines.process import ProcessEngine
from runcast_worker.engines.python import python_engine
from runcast_worker.engines.script import ScriptEngine
from runcast_worker.settings import WorkerSettings


@asynccontextmanager
async def open_engines(settings: WorkerSettings) -> AsyncIterator[Mapping[str, Engine]]:
    """By the name that agents use; at the end their connections are closed. Raises InvalidAgents, also where an entry
    of a python agent cannot be imported."""
    engines: dict[str, Engine] = {
        "demo": DemoEngine(),
        "script": ScriptEngine(),
        "process": ProcessEngine(),
        "python": python_engine(settings.agents_file),
    }
    agents = load_agents(settings.agents_file)
    if all(agent.engine != "llm" for agent in agents.values()):
        yield engines
        return
    # The providers' libraries take as long to import as all else together: only for who has a model's agent.
    from runcast_worker.engines.llm import AskingLimits, LlmEngine, Models

    async with Models(settings.llm_provider, settings.llm_model, settings.llm_base_url) as models:
        await models.rehearse(agents)
        yield engines | {"llm": LlmEngine(models, AskingLimits(settings.llm_timeout_s, settings.llm_retries))}
