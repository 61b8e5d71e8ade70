"""The llm engine: an agent's loop round a language model. The loop is ours, the models are pydantic-ai's (ADR 0012)."""

from runcast_worker.engines.llm.asking import AskingLimits
from runcast_worker.engines.llm.engine import LlmEngine
from runcast_worker.engines.llm.models import Models

__all__ = ["AskingLimits", "LlmEngine", "Models"]
