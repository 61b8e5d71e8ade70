"""The documents say what is there: paths, tests, settings, events, metrics, targets and requests that they name exist.

Each check is a function of a text, so that a made-up bad text shows that it can fail.
"""

import ast
import asyncio
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from runcast_api.app import create_app as create_api
from runcast_api.settings import ApiSettings
from runcast_events.events import EVENTS
from runcast_events.states import moves
from runcast_gateway.app import create_app as create_gateway
from runcast_gateway.settings import GatewaySettings
from runcast_local.settings import EdgeSettings, StackSettings
from runcast_service.settings import ServiceSettings
from runcast_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
FOLDERS = ("libs", "services", "deploy", "tests", "docs", "benchmarks", "examples")
SETTINGS = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "gateway": GatewaySettings,
    "edge": EdgeSettings,
    "up, demo": StackSettings,
}
"""By the process that reads them."""

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
_FILE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*\.(?:py|lua|json|toml|md|txt|yaml)")
_FOLDER = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[\w.*-]+)*/?")
_TREE = re.compile(r"^ *([\w.-]+/[\w./-]*) {2,}\S", re.MULTILINE)


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def exists(path: str) -> bool:
    """In the root, or (a file that is named without its whole path) somewhere in our folders."""
    if any(ROOT.glob(path.rstrip("/"))):
        return True
    return bool(_FILE.fullmatch(path)) and any(any((ROOT / folder).rglob(path)) for folder in FOLDERS)


def missing_paths(text: str, folder: Path = ROOT) -> set[str]:
    """Links, files and folders in code spans, and first words of a tree's lines, that lead nowhere."""
    links = {link for link in _LINK.findall(text) if not (folder / link).exists()}
    spans = [span for span in _SPAN.findall(prose(text)) if _FILE.fullmatch(span) or _FOLDER.fullmatch(span)]
    tree = [path for block in _FENCE.findall(text) for path in _TREE.findall(block)]
    return links | {path for path in [*spans, *tree] if not exists(path)}


def missing_tests(text: str, known: set[str]) -> set[str]:
    return {span for span in _SPAN.findall(prose(text)) if re.fullmatch(r"test_\w+", span)} - known


def missing_targets(text: str, makefile: str) -> set[str]:
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    code = [*_SPAN.findall(prose(text)), *_FENCE.findall(text)]
    return {target for part in code for target in re.findall(r"\bmake ([a-z0-9-]+)", part)} - targets


def missing_routes(text: str, templates: Iterable[str]) -> set[str]:
    """Paths after http://localhost:8080 that no operation of the api or the gateway serves."""
    known = [re.compile(re.sub(r"\{\w+\}", "[^/]+", template)) for template in templates]
    asked = {re.split(r"[?'\"` ]", path)[0].rstrip(".,;:") for path in re.findall(r"localhost:8080(/[^\s)]*)", text)}
    return {path for path in asked if path != "/" and not any(route.fullmatch(path) for route in known)}


def settings_table() -> list[str]:
    """The rows of docs/settings.md: name, default, services, meaning; one row where services agree on all of it."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for service, settings in SETTINGS.items():
        meanings = attribute_docs(settings)
        for name, field in settings.model_fields.items():
            row = (f"RUNCAST_{name.upper()}", shown(field.default), meanings[name])
            rows.setdefault(row, []).append(service)
    return [
        f"| `{name}` | {default} | {', '.join(services)} | {meaning} |"
        for (name, default, meaning), services in sorted(rows.items(), key=lambda row: (row[0][0], row[1]))
    ]


def shown(default: object) -> str:
    if default is None:
        return "unset"
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def attribute_docs(settings: type) -> dict[str, str]:
    """The strings below the fields of a class and of its bases, in one line each. Python itself forgets them."""
    found: dict[str, str] = {}
    for model in reversed(settings.__mro__):
        if not model.__module__.startswith("runcast_"):
            continue
        path = ROOT.joinpath(*_source_of(model.__module__))
        classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        body = next(node.body for node in classes if node.name == model.__name__)
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(field.target, ast.Name):
                assert isinstance(text.value, ast.Constant)
                found[field.target.id] = re.sub(r"\s+", " ", str(text.value.value)).strip()
    return found


def _source_of(module: str) -> tuple[str, ...]:
    name = module.replace(".", "/") + ".py"
    return next(path.relative_to(ROOT).parts for folder in FOLDERS for path in (ROOT / folder).rglob(name))


@pytest.fixture(scope="module")
def test_names() -> set[str]:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    return {name for source in sources for name in re.findall(r"def (test_\w+)", source)}


@pytest.fixture(scope="module")
def routes() -> list[str]:
    """Path templates of api and gateway, and the two pages of the api that its document leaves out."""
    api = create_api(ApiSettings.model_construct())
    gateway = create_gateway(GatewaySettings.model_construct(), asyncio.Event())
    return [*api.openapi()["paths"], *gateway.rest.openapi()["paths"], str(api.docs_url), str(api.openapi_url)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document: Path, test_names: set[str], routes: list[str]) -> None:
    """Paths, tests, `make` targets, and the requests that a reader is told to make."""
    text = document.read_text()
    assert not missing_paths(text, document.parent)
    assert not missing_tests(text, test_names)
    assert not missing_targets(text, (ROOT / "Makefile").read_text())
    assert not missing_routes(text, routes)


def test_what_does_not_exist_is_found(routes: list[str]) -> None:
    """One bad text for each check."""
    assert missing_paths(
        "see `libs/evnts/`, [this](docs/none.md) and `nothing.lua`; not `a/b` or `text/event-stream`"
    ) == {
        "libs/evnts/",
        "docs/none.md",
        "nothing.lua",
    }
    assert missing_paths("```\nservices/apy/   takes tasks\nlibs/events/  the log\n```") == {"services/apy/"}
    assert not missing_paths("`libs/events`, `append.lua`, `tests/events/*.py`, `.venv/bin/python`")
    assert missing_tests("held by `test_that_is_not_there`", {"test_that_is"}) == {"test_that_is_not_there"}
    assert missing_targets("run `make demo` or `make coffee`", "demo: setup\n") == {"coffee"}
    asked = "curl -N http://localhost:8080/stream/sessions/a?types=b 'http://localhost:8080/api/taks'"
    assert missing_routes(asked, routes) == {"/api/taks"}


def test_the_table_of_settings_is_complete() -> None:
    """Names, defaults, services and meanings are those of the settings classes, no more and no less."""
    text = (ROOT / "docs" / "settings.md").read_text()
    documented = [line for line in text.splitlines() if line.startswith("| `RUNCAST_")]
    assert documented == settings_table(), "docs/settings.md should have these rows:\n" + "\n".join(settings_table())
    assert ServiceSettings.model_config["env_prefix"] == "RUNCAST_"


def test_every_event_and_its_state_after_is_documented() -> None:
    """A row per event in docs/protocol.md: its name, each of its fields, and the state after it."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    rows = {row[0]: (row[1], row[2]) for row in re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \|", text, re.M)}
    assert rows.keys() == EVENTS.keys()
    for name, (fields, after) in rows.items():
        own = {
            key: field for key, field in EVENTS[name].model_fields.items() if key != "iteration" or field.is_required()
        }
        expected = {(field.alias or key) + ("" if field.is_required() else "?") for key, field in own.items()}
        assert set(re.findall(r"`([a-z_0-9]+\??)`", fields)) == expected, name
        assert after == (moves()[name].to or ""), name


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_form(decision: Path) -> None:
    """Four headings, sixty lines."""
    text = decision.read_text()
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]
    assert len(text.splitlines()) <= 60
    assert re.fullmatch(r"[0-9]{4}(-[a-z0-9]+)+", decision.stem)


def test_decisions_are_numbered_without_a_hole() -> None:
    """A number is a name that code and documents refer to."""
    assert [int(path.stem[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs" / "architecture.md").read_text()
    assert not [path.name for path in DECISIONS if path.name not in index]


def test_every_problem_code_is_documented() -> None:
    """A program switches on it, so it is part of the protocol."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    sources = [path.read_text() for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("*.py")]
    used = {code for source in sources for code in re.findall(r'Problem\(\s*\d{3},\s*"(\w+)"', source)}
    documented = set(re.findall(r"`(\w+)`", text))
    assert len(used) > 10
    assert not used - documented
