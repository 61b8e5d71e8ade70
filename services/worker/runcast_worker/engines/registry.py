"""Every engine a worker has."""

from runcast_worker.engines import Engine
from runcast_worker.engines.demo import DemoEngine
from runcast_worker.engines.process import ProcessEngine
from runcast_worker.engines.python import python_engine
from runcast_worker.engines.script import ScriptEngine
from runcast_worker.settings import WorkerSettings


def all_engines(settings: WorkerSettings) -> dict[str, Engine]:
    """By the name that agents use. Raises InvalidAgents where an entry of a python agent cannot be imported."""
    return {
        "demo": DemoEngine(),
        "script": ScriptEngine(),
        "process": ProcessEngine(),
        "python": python_engine(settings.agents_file),
    }
