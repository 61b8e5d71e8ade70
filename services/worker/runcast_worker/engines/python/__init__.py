"""The python engine: a function of somebody else's, plugged in. What it is written with: runcast_worker.python."""

from runcast_worker.engines.python.engine import PythonEngine, python_engine

__all__ = ["PythonEngine", "python_engine"]
