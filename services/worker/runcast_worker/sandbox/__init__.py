"""Where the processes of tools and of process agents run: closed in as far as this machine allows."""

from runcast_worker.sandbox.child import Child, Consumption
from runcast_worker.sandbox.sandbox import Sandbox, SandboxMissing, Tier, find_sandbox

__all__ = ["Child", "Consumption", "Sandbox", "SandboxMissing", "Tier", "find_sandbox"]
