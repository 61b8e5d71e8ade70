"""The rules of docs/architecture.md that a machine can hold: who imports whom, what is declared, how files look.

Each rule is a function of some source, so that a made-up bad source shows that it can fail.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "runcast_events": "libs/events",
    "runcast_tasks": "libs/tasks",
    "runcast_agents": "libs/agents",
    "runcast_service": "libs/service",
    "runcast_api": "services/api",
    "runcast_worker": "services/worker",
    "runcast_gateway": "services/stream-gateway",
    "runcast_local": "deploy/local",
}
MAY_IMPORT = {
    "runcast_events": set(),
    "runcast_tasks": {"runcast_events"},
    "runcast_agents": set(),
    "runcast_service": {"runcast_events"},
    "runcast_api": {"runcast_events", "runcast_tasks", "runcast_agents", "runcast_service"},
    "runcast_worker": {"runcast_events", "runcast_tasks", "runcast_agents", "runcast_service"},
    "runcast_gateway": {"runcast_events", "runcast_tasks", "runcast_service"},
    "runcast_local": {"runcast_service"},
}
NEVER = {
    "runcast_events": r"fastapi|starlette|uvicorn|arq|httpx2",
    "runcast_tasks": r"fastapi|starlette|uvicorn|httpx2",
    "runcast_agents": r"fastapi|starlette|uvicorn|redis|arq|httpx2",
    "runcast_api": r"runcast_events\.(hub|channel|subscriber|publisher)|runcast_tasks\.claim|httpx2",
    "runcast_worker": r"runcast_events\.(hub|channel)|fastapi",
    "runcast_gateway": r"runcast_events\.(log|publisher)|runcast_tasks\.(claim|control|queue|submit)",
    "runcast_local": r"redis|arq|fastapi",
}
"""What a part never does, as far as imports tell: the gateway does not write, the api does not stream."""
ARQ = {"runcast_tasks.queue", "runcast_worker.doorbell"}
ASKS_THE_API = {"runcast_gateway.commands.api"}
"""The gateway writes nothing by itself: what its clients want done the api does, and one file asks it."""
DISTRIBUTIONS = {"pydantic_ai": "pydantic-ai-slim", "pydantic_core": "pydantic", "re2": "google-re2"}
"""Where the import's name is not the distribution's."""
NAMESPACES = {
    "opentelemetry": {"opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"},
}
"""Where one name is that of several."""
EXTRA = {"runcast_service.otlp": "otlp"}
"""Modules that need an extra of their package; nobody imports them before it is asked for by a setting."""
UNIMPORTED = {"runcast_gateway": {"httptools", "uvloop"}}
"""Declared though nobody imports them: uvicorn takes them where they are installed."""

LINES = 250
LONGER = {
    "libs/events/runcast_events/events.py": 340,
}
"""Files above LINES on purpose, with their own limit: a list of models."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "handlers", "misc"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / FOLDERS[package] / package).rglob("*.py"))


def name_of(package: str, path: Path) -> str:
    parts = path.relative_to(ROOT / FOLDERS[package]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str) -> set[str]:
    """Dotted names that a module imports: `a.b` of `import a.b`, `a.b` and `a.b.c` of `from a.b import c`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(source: str) -> set[str]:
    """Top-level packages that are not of the standard library."""
    return {name.partition(".")[0] for name in imports(source)} - sys.stdlib_module_names


def wrong_imports(package: str, source: str) -> set[str]:
    """What a module of `package` imports although it must not."""
    internal = {name for name in tops(source) if name.startswith("runcast_")} - MAY_IMPORT[package] - {package}
    never = re.compile(rf"({NEVER.get(package, '(?!)')})(\..*)?")
    return internal | {name for name in imports(source) if never.fullmatch(name)}


def distributions(top: str) -> set[str]:
    """What to declare for an import. pydantic pins its own other half exactly."""
    return NAMESPACES.get(top, {DISTRIBUTIONS.get(top, top.replace("_", "-"))})


def declared(pyproject: str, extra: str | None = None) -> set[str]:
    project = tomllib.loads(pyproject)["project"]
    dependencies = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {re.split(r"[^A-Za-z0-9._-]", dependency)[0] for dependency in dependencies}


def uses_base_http_middleware(source: str) -> bool:
    """It breaks streams and hides disconnects: https://www.starlette.io/middleware/#limitations"""
    names = (getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(ast.parse(source)))
    return any(name.endswith(".BaseHTTPMiddleware") for name in imports(source)) or "BaseHTTPMiddleware" in names


def reads_from_now(source: str) -> bool:
    """XREAD with `$` loses whatever comes between two reads: cursors are explicit."""
    constants = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return not constants.isdisjoint({"$", b"$"})


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_point_down_the_data_flow(package: str) -> None:
    """Service → tasks → events; a service never imports another; and what a part never does it cannot import."""
    wrong = {name_of(package, path): wrong_imports(package, path.read_text()) for path in modules(package)}
    assert not {name: found for name, found in wrong.items() if found}


def test_wrong_imports_are_found() -> None:
    """Up, sideways, and what a part must not know."""
    assert wrong_imports("runcast_events", "from runcast_tasks.queue import Queue") == {"runcast_tasks"}
    assert wrong_imports("runcast_api", "import runcast_worker.runner") == {"runcast_worker"}
    assert "fastapi" in wrong_imports("runcast_events", "from fastapi import FastAPI")
    assert "runcast_events.log" in wrong_imports("runcast_gateway", "from runcast_events import log")
    assert not wrong_imports("runcast_gateway", "from runcast_events.reader import LogReader")


def test_every_package_is_under_these_rules() -> None:
    """A new package must be given its place here."""
    found = {
        path.parent.name for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("py.typed")
    }
    assert found == set(FOLDERS) == set(MAY_IMPORT)


def test_arq_has_two_importers() -> None:
    """The queue and the doorbell: whatever else knew arq would begin to rely on it."""
    found = {name_of(p, path) for p in FOLDERS for path in modules(p) if "arq" in tops(path.read_text())}
    assert found == ARQ


def test_the_gateway_asks_the_api_in_one_place() -> None:
    """Bounds and credentials of what is forwarded are seen on one screen."""
    found = {
        name_of("runcast_gateway", path) for path in modules("runcast_gateway") if "httpx2" in tops(path.read_text())
    }
    assert found == ASKS_THE_API


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_declares_exactly_what_it_imports(package: str) -> None:
    """So that each can be installed alone, and none drags in what it does not use."""
    pyproject = (ROOT / FOLDERS[package] / "pyproject.toml").read_text()
    always, of_extras = UNIMPORTED.get(package, set()), {}
    for path in modules(package):
        named = set().union(*(distributions(top) for top in tops(path.read_text()) - {package}))
        if (extra := EXTRA.get(name_of(package, path))) is not None:
            of_extras[extra] = of_extras.get(extra, set()) | named
        else:
            always = always | named
    assert declared(pyproject) == always
    assert {extra: declared(pyproject, extra) for extra in of_extras} == {
        extra: named - always for extra, named in of_extras.items()
    }


def test_declarations_are_read_without_versions_and_extras() -> None:
    """As pip reads them."""
    text = '[project]\ndependencies = ["redis[hiredis]>=5.3,<6", "runcast-events", "arq ~= 0.28"]'
    assert declared(text) == {"redis", "runcast-events", "arq"}
    assert declared(text + '\n[project.optional-dependencies]\nmore = ["b>=1"]', "more") == {"b"}


def too_long(path: str, lines: int) -> bool:
    return lines > LONGER.get(path, LINES)


def test_files_are_short() -> None:
    """A file is one noun. Those that are longer are listed here, as long as they need it."""
    paths = [path for package in FOLDERS for path in (ROOT / FOLDERS[package] / package).rglob("*.*")]
    texts = [path for path in paths if path.suffix in (".py", ".lua")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in texts}
    assert not {path: lines for path, lines in lengths.items() if too_long(path, lines)}
    assert not {path for path in LONGER if lengths.get(path, 0) <= LINES}, "listed without need"
    assert too_long("libs/events/runcast_events/new.py", 251)


def test_no_file_has_a_name_that_says_nothing() -> None:
    """Such a file becomes a drawer."""
    folders = ("libs", "services", "deploy", "tests", "benchmarks")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in paths if not VAGUE.isdisjoint({path.stem, *path.relative_to(ROOT).parts})]


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (
            uses_base_http_middleware,
            "from starlette.middleware.base import BaseHTTPMiddleware",
            "from starlette.middleware import Middleware",
        ),
        (reads_from_now, "redis.xread({'log': '$'})", "redis.xread({'log': '0-0'})"),
        (lambda source: ast.get_docstring(ast.parse(source)) is None, "import os", '"""What it is."""'),
    ],
    ids=["no BaseHTTPMiddleware", "no XREAD from now", "every module says what it is"],
)
def test_sources_keep_the_house_rules(rule: Callable[[str], bool], bad: str, good: str) -> None:
    """Each rule finds the made-up bad source, and nothing in ours."""
    assert rule(bad)
    assert not rule(good)
    assert not [name_of(p, path) for p in FOLDERS for path in modules(p) if rule(path.read_text())]


@pytest.mark.parametrize("package", FOLDERS)
def test_every_package_is_typed(package: str) -> None:
    """For whoever installs it."""
    assert (ROOT / FOLDERS[package] / package / "py.typed").is_file()
