"""The models of a worker, by name. Each is made once, with the connections of its provider."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model, parse_model_id
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from runcast_agents import Agent
from runcast_worker.engines import EngineError
from runcast_worker.engines.llm.faults import said

logger = logging.getLogger(__name__)


class Models:
    """Use as an async context manager: at its end the connections are closed.

    `provider`: of names without one. `base_url`: where that provider is, if not at its own address; of `openai` it may
    be any server that talks its Chat Completions. `default`: the model of agents that name none."""

    def __init__(self, provider: str, default: str | None, base_url: str | None) -> None:
        self._provider, self._default, self._base_url = provider, default, base_url
        self._models: dict[str, Model] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Models":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._models.clear()
        await self._stack.aclose()

    def chain(self, asked: str | None, agent: Agent) -> Sequence[str]:
        """The names of a task's models, in the order of asking. `asked`: what the task wants. Raises EngineError."""
        first = asked or agent.model or self._default
        if first is None:
            raise EngineError("no model: give the agent one in agents.toml, or set RUNCAST_LLM_MODEL", "model_setup")
        allowed = {first} if asked is None else {agent.model, self._default, *agent.models}
        if first not in allowed:
            choice = ", ".join(sorted(name for name in allowed if name)) or "none"
            raise EngineError(f"the agent may not use the model {first!r}; it may use: {choice}", "model_setup")
        return first, *agent.fallback_models

    async def get(self, name: str) -> Model:
        """Made at its first use. Raises EngineError where it cannot be asked with these settings."""
        model = self._models.get(name)
        if model is None:
            try:
                model = self._make(name)
            except (UserError, ValueError, ImportError, TypeError) as error:
                raise EngineError(f"the model {name!r} cannot be used: {said(error)}", "model_setup") from error
            await self._stack.enter_async_context(model)
            self._models[name] = model
        return model

    async def rehearse(self, agents: Mapping[str, Agent]) -> None:
        """Make what the agents will ask, and warn of what cannot be: whoever runs the worker knows before a user does.
        It also imports the providers' libraries, which would hold up the tasks that run beside a first one."""
        for name, agent in agents.items():
            first = (agent.model or self._default,) if agent.engine == "llm" else ()
            for model in filter(None, (*first, *agent.models, *agent.fallback_models)):
                try:
                    await self.get(model)
                except EngineError as error:
                    logger.warning("agents.%s: %s", name, error)
                prefix, colon, _ = model.partition(":")
                if colon and not _known(prefix):
                    logger.info("agents.%s: no provider %s: %r is a name of %s's", name, prefix, model, self._provider)

    def _make(self, name: str) -> Model:
        provider, bare = parse_model_id(name)
        if provider is None or not _known(provider):  # a colon may be part of a model's own name: qwen3:8b
            provider, bare = self._provider, name
        if self._base_url is None or provider != self._provider:
            return infer_model(f"{provider}:{bare}")
        if provider == "openai":
            key = os.environ.get("OPENAI_API_KEY") or None
            return OpenAIChatModel(
                bare, provider=OpenAICompatibleProvider("openai-compatible", base_url=self._base_url, api_key=key)
            )
        return infer_model(f"{provider}:{bare}", self._at_base_url)

    def _at_base_url(self, provider: str) -> Provider[Any]:
        if provider != self._provider:
            return infer_provider(provider)
        made: Provider[Any] = infer_provider_class(provider)(base_url=self._base_url)  # type: ignore[call-arg]
        return made


def _known(provider: str) -> bool:
    try:
        infer_provider_class(provider)
    except ValueError:
        return False
    return True
