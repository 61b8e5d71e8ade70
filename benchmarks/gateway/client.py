"""Runs the load client once and reads what it found."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gateway import plan
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import LEASH, NotReady

SETTLE_S = 1.0
DRAIN_S = 30.0
LIMIT_S = 240.0
AT_ONCE = 64

Outcome = dict[str, Any]
"""What load/outcome.c prints."""


def run(program: Path, folder: Path, workload: Workload, running: Running) -> Outcome:
    """On the core this process is on. Raises NotReady with its last lines when it fails, TimeoutExpired."""
    file = folder / "plan"
    plan.write(running.plans, file)
    options = {
        "mode": workload.mode,
        "plan": file,
        "ports": ",".join(map(str, running.ports)),
        "sessions": workload.sessions,
        "clients": workload.clients,
        "at-once": AT_ONCE,
        "leave": int(workload.leave),
        "greeting": running.greeting,
        "cursor": running.cursor if workload.mode == "replay" else "",
        "missed": workload.missed,
        "publish-port": running.publish_port,
        "acknowledged": running.acknowledged if workload.rate else "",
        "first-sequence": running.first_sequence,
        "rate": workload.rate,
        "settle-s": SETTLE_S,
        "warm-s": workload.warm_s,
        "measure-s": workload.measure_s,
        "drain-s": DRAIN_S,
        "storming": workload.clients - workload.watched if workload.mode == "storm" else 0,
        "gateway-pids": ",".join(map(str, running.pids)),
        "store-pids": ",".join(map(str, running.store_pids)),
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(program), *words)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ended.returncode:
        raise NotReady(f"the load client ended with {ended.returncode}: {ended.stderr[-600:]}")
    found: Outcome = json.loads(ended.stdout)
    return found


def wrong(outcome: Outcome) -> str:
    """What was not as it must be; empty when everybody was shown everything once, in order."""
    counts = {name: outcome[name] for name in ("gaps", "repeats", "strays", "broken", "refused", "closed")}
    counts["missing"] = outcome["expected"] - outcome["delivered"]
    counts["not acknowledged"] = outcome["published"] - outcome["acknowledged"]
    said = ", ".join(f"{value:,} {name}" for name, value in counts.items() if value)
    return f"{said}; {outcome['sample']} {outcome['refusal']}".strip(" ;") if said else ""
