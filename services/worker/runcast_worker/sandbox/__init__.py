"""Where the processes of tools and of process agents run: closed in as far as this machine allows."""

from runcast_worker.sandbox.child import Child
from runcast_worker.sandbox.privacy import hide
from runcast_worker.sandbox.probe import SandboxMissing, find_sandbox
from runcast_worker.sandbox.report import Consumption
from runcast_worker.sandbox.sandbox import Sandbox, Tier

__all__ = ["Child", "Consumption", "Sandbox", "SandboxMissing", "Tier", "find_sandbox", "hide"]
