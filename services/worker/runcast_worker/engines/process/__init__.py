"""The process engine: an external command in a terminal, its lines told as events. docs/engines.md."""

from runcast_worker.engines.process.engine import ProcessEngine

__all__ = ["ProcessEngine"]
