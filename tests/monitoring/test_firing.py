"""Every alert fires for real when its trouble comes, and the first command of its runbook shows the cause."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.monitoring.alerts import ALERTS, Alert, first_commands
from tests.monitoring.deployment import Deployment
from tests.monitoring.overlay import shortened
from tests.monitoring.test_panels import PROGRAMS
from tests.monitoring.traffic import Traffic
from tests.monitoring.troubles import TROUBLES, Trouble

FIRES_S, QUIET_S = 90.0, 30.0
BY_NAME = {alert.name: alert for alert in ALERTS}


def test_every_alert_has_its_trouble() -> None:
    """And fires in the tests below."""
    assert sorted(name for trouble in TROUBLES for name in trouble.shows) == sorted(BY_NAME)


@pytest.mark.monitoring
@pytest.mark.timeout(300)
@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}, Debian's packages")
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
async def test_alerts_fire_and_first_commands_show_the_cause(trouble: Trouble, tmp_path: Path) -> None:
    """They are quiet before, fire in the trouble, and their texts are whole."""
    async with (
        Deployment(
            tmp_path,
            settings=trouble.settings,
            proxied=trouble.proxied,
            programs=trouble.programs,
            rules=shortened(),
        ) as deployment,
        Traffic(deployment) as traffic,
    ):
        if not trouble.programs:
            await wait_until(lambda: _quiet(trouble, deployment), QUIET_S, "alerts before their trouble")
        making = asyncio.create_task(_make(trouble, deployment, traffic))
        try:
            for name, shows in trouble.shows.items():
                await _fires(BY_NAME[name], deployment, making)
                said = await asyncio.to_thread(run_first_commands, BY_NAME[name], deployment)
                assert re.search(shows, said), f"{name}: expected {shows} in\n{said}"
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)


async def _quiet(trouble: Trouble, deployment: Deployment) -> bool:
    """Those of the trouble. In the first seconds a process may not have been looked at yet."""
    return not [each for each in await deployment.prometheus.alerts() if each["labels"]["alertname"] in trouble.shows]


async def _make(trouble: Trouble, deployment: Deployment, traffic: Traffic) -> None:
    await trouble.make(deployment, traffic)


async def _fires(alert: Alert, deployment: Deployment, making: "asyncio.Task[None]") -> None:
    """Its texts are whole: what cannot be shown is `<no value>` or `<error expanding template …>`."""
    texts: list[str] = []

    async def firing() -> bool:
        if making.done():
            making.result()
        if (found := await deployment.prometheus.firing(alert.name)) is not None:
            texts.extend(found["annotations"].values())
        return bool(texts)

    await wait_until(firing, FIRES_S, f"{alert.name} does not fire")
    assert not [text for text in texts if "<" in text]


def run_first_commands(alert: Alert, deployment: Deployment) -> str:
    """As a person would, in a shell."""
    environ = {"PROMETHEUS": deployment.prometheus.url, "API_ADMIN": f"http://127.0.0.1:{deployment.api.admin}"}
    script = "\n".join(first_commands(alert.runbook))
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environ}
    )
    return done.stdout + done.stderr
