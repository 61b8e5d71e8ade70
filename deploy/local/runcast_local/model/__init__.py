"""A stub of a model behind an OpenAI-compatible API: deterministic, offline, and able to go wrong in every usual way.

`python -m runcast_local.model`; what its models do: docs/models.md. In a test:

    stub = Stub({"mine": [Turn(says("Hello"))]})
    async with serving(stub) as base_url: ...
"""

from runcast_local.model.asked import Asked
from runcast_local.model.script import (
    Answer,
    Call,
    Cut,
    KeepAlive,
    Pause,
    Raw,
    Refusal,
    Refuse,
    Say,
    Script,
    Silence,
    Stall,
    Think,
    Turn,
    says,
    thinks,
)
from runcast_local.model.stub import Stub, serving

__all__ = [
    "Answer",
    "Asked",
    "Call",
    "Cut",
    "KeepAlive",
    "Pause",
    "Raw",
    "Refusal",
    "Refuse",
    "Say",
    "Script",
    "Silence",
    "Stall",
    "Stub",
    "Think",
    "Turn",
    "says",
    "serving",
    "thinks",
]
