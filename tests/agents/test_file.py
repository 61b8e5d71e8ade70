"""agents.toml: what is read, and that every mistake is told with its line, its key and what was expected."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from runcast_agents import Agent, InvalidAgents, Limits, McpServer, SandboxPolicy, load_agents
from runcast_agents.agents import TOOL_NAMES, Agents, EngineName
from runcast_local.model.characters import character

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "deploy" / "local" / "runcast_local" / "agents.toml"
DOCUMENT = ROOT / "docs" / "agents.md"


def load(tmp_path: Path, text: str) -> dict[str, Agent]:
    path = tmp_path / "agents.toml"
    path.write_text(text)
    return load_agents(path)


def refusal(tmp_path: Path, text: str) -> list[str]:
    """The lines of the message, without the path."""
    with pytest.raises(InvalidAgents) as invalid:
        load(tmp_path, text)
    return [line.removeprefix(str(tmp_path / "agents.toml")) for line in str(invalid.value).splitlines()]


LLM = '[agents.a]\nengine = "llm"\n'
SCRIPT = '[agents.a]\nengine = "script"\n'
PROCESS = '[agents.a]\nengine = "process"\ncommand = ["true"]\n'
MCP = LLM + "[agents.a.mcp.x]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # The file as a whole.
        ("", ", line 1: agents: is missing; expected a table [agents.NAME]"),
        ("agents = 1", ", line 1: agents: expected a table"),
        ("[agents]\n", ", line 1: agents: is empty; expected a table [agents.NAME]"),
        (f"x = {'[' * 5000}", ": not TOML that can be read: it is nested too deep"),
        (f"x = {'9' * 5000}", ": not TOML: Exceeds the limit"),
        ('x = 1\n[agents.a]\nengine = "demo"', ", line 1: x: no such key; expected tables [agents.NAME] alone"),
        ("[agents.a\n", ": not TOML: "),
        ('[agents.a]\nengine = "demo"\nengine = "demo"', ": not TOML: "),
        ("[agents.a]\nengine = demo", ": not TOML: "),
        # Names and engines.
        ('[agents."A b"]\nengine = "demo"', ", line 1: agents.A b: expected a name of 1 to 32 of a-z"),
        ("[agents.a]\n", ", line 1: agents.a.engine: is missing; expected one of demo, script"),
        ('\n[agents.a]\nengine = "gpt"', ", line 3: agents.a.engine: Input should be 'demo', 'script', 'llm'"),
        ('[agents.a]\nengine = "demo"\ncolour = "red"', ", line 3: agents.a.colour: no such key; expected one of"),
        ("[agents]\na = 7", ", line 2: agents.a: expected a table"),
        # Keys of the wrong kind.
        (LLM + "description = 1", ", line 3: agents.a.description: expected a string"),
        (LLM + 'read_only = "perhaps"', ", line 3: agents.a.read_only: expected true or false"),
        (LLM + 'tools = ["shell", "hammer"]', ", line 3: agents.a.tools.1: Input should be 'shell', 'read_file'"),
        (LLM + "models = [1]", ", line 3: agents.a.models.0: expected a string"),
        (LLM + 'fetch_allow = ["http://a"]', ', line 3: agents.a.fetch_allow.0: expected "host:port"'),
        (LLM + 'tools = "shell"', ', line 3: agents.a.tools: expected a list, such as ["…"]'),
        (LLM + "limits = 3", ", line 3: agents.a.limits: expected a table"),
        (LLM + "env = 3", ", line 3: agents.a.env: expected a table"),
        (LLM + "workspace = 3", ", line 3: agents.a.workspace: expected a string"),
        (LLM + 'limits = { tokens = "many" }', ", line 3: agents.a.limits.tokens: expected a whole number"),
        (LLM + "limits = { tokens = 1.5 }", ", line 3: agents.a.limits.tokens: expected a whole number"),
        (LLM + "limits = { tokens = [1] }", ", line 3: agents.a.limits.tokens: expected a whole number"),
        (LLM + 'limits = { cost_usd = "1 $" }', ", line 3: agents.a.limits.cost_usd: expected a number"),
        ("[agents._a]\nengine = 'demo'", ", line 1: agents._a: expected a name of 1 to 32 of a-z"),
        # A key that is nearly one.
        (LLM + 'instruction = "x"', ", line 3: agents.a.instruction: no such key (did you mean instructions?); expec"),
        (LLM + "limits = { token = 1 }", ", line 3: agents.a.limits.token: no such key (did you mean tokens?); expec"),
        (LLM + "sandbox.memory = 99", ", line 3: agents.a.sandbox.memory: no such key (did you mean memory_mb?); exp"),
        (MCP + 'comand = ["x"]', ", line 4: agents.a.mcp.x.comand: no such key (did you mean command?); expected one"),
        (
            LLM + "model_settings = { at = 1979-05-27 }",
            ", line 3: agents.a.model_settings.at: expected a string, a number, true",
        ),
        # Keys of another engine.
        (LLM + 'entry = "m:f"', ", line 3: agents.a.entry: entry is for the engine python, not for llm"),
        (LLM + 'command = ["x"]', ", line 3: agents.a.command: command is for the engine process, not for llm"),
        (LLM + "env = {}", ", line 3: agents.a.env: env is for the engine process, not for llm"),
        (PROCESS + 'model = "m"', ", line 4: agents.a.model: model is for the engine llm, not for process"),
        (PROCESS + "options = {}", ", line 4: agents.a.options: options is for the engine python, not for process"),
        (PROCESS + 'tools = ["shell"]', ", line 4: agents.a.tools: tools is for the engines llm, python and"),
        (
            PROCESS + "read_only = true",
            ", line 4: agents.a.read_only: read_only is for the engines llm, python and demo",
        ),
        (PROCESS + 'fetch_allow = ["a:1"]', ", line 4: agents.a.fetch_allow: fetch_allow is for the engines llm"),
        (
            PROCESS + '[agents.a.mcp.x]\ncommand = ["x"]',
            ", line 4: agents.a.mcp: mcp is for the engines llm, python and",
        ),
        (
            SCRIPT + "sandbox = {}",
            ", line 3: agents.a.sandbox: sandbox is for the engines llm, python, demo and process",
        ),
        (
            PROCESS + "limits = { tokens = 1 }",
            ", line 4: agents.a.limits.tokens: limits.tokens is for the engines",
        ),
        (
            PROCESS + "[agents.a.limits]\niterations = 9",
            ", line 5: agents.a.limits.iterations: limits.iterations is",
        ),
        # What an engine needs.
        ('[agents.a]\nengine = "python"', ', line 1: agents.a: the engine python needs entry = "module:function"'),
        ('[agents.a]\nengine = "python"\nentry = "m.f"', ', line 3: agents.a.entry: expected "module:function"'),
        ('[agents.a]\nengine = "process"', ', line 1: agents.a: the engine process needs command = ["program", …]'),
        (PROCESS.replace("true", "{prompt}"), ", line 3: agents.a.command: command names its program by {prompt}"),
        # Patterns.
        (PROCESS + "patterns = { x = '(' }", ", line 4: agents.a.patterns.x: not a pattern (re2 syntax"),
        (PROCESS + "[agents.a.patterns]\nx = '(?=y)'", ", line 5: agents.a.patterns.x: not a pattern (re2 syntax"),
        (PROCESS + "[agents.a.patterns]\nx = '(y)\\1'", ", line 5: agents.a.patterns.x: not a pattern (re2 syntax"),
        (
            PROCESS + "[agents.a.patterns]\nx = '((y{1000}){1000}){1000}'",
            ", line 5: agents.a.patterns.x: not a pattern",
        ),
        (PROCESS + "[agents.a.patterns]\nx = ''", ", line 5: agents.a.patterns.x: expected a string that is not"),
        (PROCESS + "[agents.a.patterns]\n1x = 'y'", ", line 5: agents.a.patterns.1x: expected a name of at most"),
        (
            PROCESS + "[agents.a.patterns]\n" + "".join(f"x{number} = 'y'\n" for number in range(33)),
            ", line 4: agents.a.patterns: expected at most 32 in it",
        ),
        # Limits and the sandbox.
        (LLM + "[agents.a.limits]\ntokens = 0", ", line 4: agents.a.limits.tokens: expected 1 or more"),
        (LLM + "limits = { cost_usd = -1 }", ", line 3: agents.a.limits.cost_usd: expected more than 0"),
        (LLM + "limits.wall_time_s = 0", ", line 3: agents.a.limits.wall_time_s: expected more than 0"),
        (
            LLM + "limits = { minutes = 1 }",
            ", line 3: agents.a.limits.minutes: no such key; expected one of iter",
        ),
        (LLM + "sandbox = { memory_mb = 1 }", ", line 3: agents.a.sandbox.memory_mb: expected 16 or more"),
        (LLM + 'sandbox = { read = ["tmp"] }', ", line 3: agents.a.sandbox.read: 'tmp' is relative; expected an absol"),
        (LLM + "limits = { cost_usd = inf }", ", line 3: agents.a.limits.cost_usd: expected a finite number"),
        (LLM + "limits = { wall_time_s = 1e300 }", ", line 3: agents.a.limits.wall_time_s: expected at most 3162"),
        (LLM + f"limits = {{ tokens = {10**20} }}", ", line 3: agents.a.limits.tokens: expected at most 1000"),
        (
            LLM + "sandbox = { memory_mb = 9_000_000_000_000 }",
            ", line 3: agents.a.sandbox.memory_mb: expected at most 1",
        ),
        (LLM + f"sandbox = {{ cpu_s = {10**20} }}", ", line 3: agents.a.sandbox.cpu_s: expected at most 3162"),
        (LLM + f"sandbox = {{ file_mb = {10**13} }}", ", line 3: agents.a.sandbox.file_mb: expected at most 1000"),
        (LLM + f"sandbox = {{ disk_mb = {10**13} }}", ", line 3: agents.a.sandbox.disk_mb: expected at most 1000"),
        (LLM + f"sandbox = {{ processes = {10**6} }}", ", line 3: agents.a.sandbox.processes: expected at most 1000"),
        (
            LLM + "model_settings = { top_p = nan }",
            ", line 3: agents.a.model_settings.top_p.float: expected a finite",
        ),
        (LLM + 'fetch_allow = ["a:99999"]', ", line 3: agents.a.fetch_allow.0: 'a:99999' has a port that there is not"),
        (LLM + 'fetch_allow = ["a:0"]', ", line 3: agents.a.fetch_allow.0: 'a:0' has a port that there is not"),
        # MCP servers.
        (MCP, ", line 3: agents.a.mcp.x: expected either command or url"),
        (MCP + 'command = ["x"]\nurl = "http://x"', ", line 3: agents.a.mcp.x: expected either command or url"),
        (MCP + 'command = ["./x"]', ", line 4: agents.a.mcp.x.command: command names the program './x', which is rela"),
        (MCP + 'url = "ftp://x"', ", line 4: agents.a.mcp.x.url: expected http://… or https://…"),
        (MCP + 'url = "http://x"\nenv = { A = "b" }', ", line 5: agents.a.mcp.x.env: env is for a command; a url"),
        (MCP + 'command = ["x"]\nheaders = { A = "b" }', ", line 5: agents.a.mcp.x.headers: headers are for a url;"),
        (MCP + 'command = ["x"]\ntimeout_s = 601', ", line 5: agents.a.mcp.x.timeout_s: expected at most 600"),
        (LLM + '[agents.a.mcp."1"]\ncommand = ["x"]', ", line 3: agents.a.mcp.1: expected a name of at most"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    """And with what was expected there."""
    (line,) = refusal(tmp_path, text)
    assert line.startswith(said)


@pytest.mark.parametrize("model", [Agents, Agent, Limits, SandboxPolicy, McpServer])
def test_a_mistake_is_not_told_in_the_words_of_python(tmp_path: Path, model: type[BaseModel]) -> None:
    """Whatever stands for any key: only a choice is listed as pydantic does."""
    table = {Agents: "{}", Agent: "[agents.a]\nengine = 'llm'\n{}", McpServer: MCP + "{}"}
    nested = {Limits: LLM + "[agents.a.limits]\n{}", SandboxPolicy: LLM + "[agents.a.sandbox]\n{}"}
    for key in model.model_fields.keys() - {"engine"}:
        for value in ("'x'", "3", "-1.5", "true", "[]", "[{}]", "{}", "{ x = [] }", "1979-05-27"):
            with contextlib.suppress(InvalidAgents):
                load(tmp_path, (table | nested)[model].format(f"{key} = {value}"))
                continue
            said = refusal(tmp_path, (table | nested)[model].format(f"{key} = {value}"))
            assert not re.search("dictionary|tuple|Input should be (?!'shell')|valid", "".join(said)), (key, value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Each on a line of its own, in the order of the model."""
    text = LLM + 'tokens = 1\n\n[agents.b]\nengine = "nothing"\n\n[agents.b.limits]\niterations = 0\n'
    assert [line.partition(": ")[0] for line in refusal(tmp_path, text)] == [", line 3", ", line 6", ", line 9"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Not there, a folder, or no text."""
    with pytest.raises(InvalidAgents, match=r"none\.toml: cannot be read: No such file"):
        load_agents(tmp_path / "none.toml")
    with pytest.raises(InvalidAgents, match="cannot be read: Is a directory"):
        load_agents(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidAgents, match="not TOML"):
        load_agents(tmp_path / "binary.toml")


def test_a_file_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """As TOML says."""
    program = (
        "import sys; from pathlib import Path; from runcast_agents import load_agents;"
        "print(ascii(load_agents(Path(sys.argv[1]))['a'].description))"
    )
    path = tmp_path / "agents.toml"
    path.write_text(LLM + 'description = "prüft"', encoding="utf-8")
    environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    argv = (sys.executable, "-c", program, str(path))
    said = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=30, check=True).stdout
    assert said == "'pr\\xfcft'\n"


def test_without_a_file_there_is_the_demo_alone() -> None:
    """Nothing that plays what it is given."""
    assert {name: agent.engine for name, agent in load_agents(None).items()} == {"demo": "demo"}


def test_a_workspace_is_relative_to_the_file(tmp_path: Path) -> None:
    """Wherever a process was started."""
    agents = load(tmp_path, LLM + 'workspace = "shared"\n[agents.b]\nengine = "demo"\nworkspace = "/srv"\n')
    assert agents["a"].workspace == tmp_path / "shared"
    assert agents["b"].workspace == Path("/srv")


def tables(text: str) -> Iterator[str]:
    """The TOML blocks of a Markdown text."""
    yield from re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("model", "heading"),
    [
        (Agent, None),
        (Limits, "## [agents.NAME.limits]"),
        (SandboxPolicy, "## [agents.NAME.sandbox]"),
        (McpServer, "## [agents.NAME.mcp.SERVER]"),
    ],
)
def test_every_key_is_documented(model: type[BaseModel], heading: str | None) -> None:
    """In the table of its section in docs/agents.md, and no key that is not there."""
    text = DOCUMENT.read_text()
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    tables_of_agents = ("## [agents.NAME]", "## Keys of")
    mine = [s for s in sections if (s.startswith(heading) if heading else s.startswith(tables_of_agents))]
    documented = {key for section in mine for key in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)}
    nested = {"limits", "sandbox", "mcp"} if model is Agent else set()
    assert documented == set(model.model_fields) - nested


def test_the_documents_defaults_are_the_models() -> None:
    """Of what is a number."""
    text = DOCUMENT.read_text()
    for model in (Limits, SandboxPolicy, McpServer):
        for name, field in model.model_fields.items():
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                assert f"| `{name}` | {field.default:g} |" in text


def test_the_documents_examples_are_right(tmp_path: Path) -> None:
    """Alone where they are tables, inside an agent where they are keys of one."""
    merged = {"[agents.coder.sandbox]": LLM.replace(".a", ".coder"), "[agents.coder.mcp": LLM.replace(".a", ".coder")}
    found = list(tables(DOCUMENT.read_text()))
    assert len(found) == 7
    for block in found:
        before = next((text for start, text in merged.items() if block.startswith(start)), "")
        assert load(tmp_path, before + (block if "[" in block.splitlines()[0] else LLM + block))


def test_the_examples_of_the_document_of_models_are_right(tmp_path: Path) -> None:
    """All in one file: some are tables of an agent that another one begins."""
    agents = load(tmp_path, "\n".join(tables((ROOT / "docs" / "models.md").read_text())))
    assert {name: agent.model for name, agent in agents.items()}.items() >= {("llm", "stub")}
    assert all(character(model) for model in agents["llm"].models)


def test_every_tool_and_engine_is_documented() -> None:
    """By name."""
    text = DOCUMENT.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `tools` | all | which tools it"))
    assert ", ".join(TOOL_NAMES) in row
    assert not [name for name in get_args(EngineName) if f"`{name}`" not in text]


def test_the_local_stacks_file_is_right_and_its_examples_too(tmp_path: Path) -> None:
    """As it stands; and with every example that is commented out taken in, there is an agent of each engine."""
    assert {agent.engine for agent in load_agents(LOCAL).values()} == {"demo", "script", "llm"}
    text = LOCAL.read_text()
    whole = re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)
    agents = load(tmp_path, whole)
    assert {agent.engine for agent in agents.values()} == set(get_args(EngineName))


@pytest.mark.parametrize("key", ["approve", "idempotent_tools"])
def test_a_name_that_is_no_tools_is_refused(key: str, tmp_path: Path) -> None:
    """A gate that is misspelt would stand open. Tools of an MCP server are known by its name alone."""
    path = tmp_path / "agents.toml"
    path.write_text(f'[agents.a]\nengine = "demo"\ntools = ["shell", "read_file"]\n{key} = ["shel"]\n')
    with pytest.raises(InvalidAgents, match=rf"{key}: this agent has no tool 'shel' \(did you mean shell\?\)"):
        load_agents(path)
    path.write_text(f'[agents.a]\nengine = "demo"\ntools = ["read_file"]\n{key} = ["shell"]\n')
    with pytest.raises(InvalidAgents, match="expected one of read_file"):
        load_agents(path)
    path.write_text(
        f'[agents.a]\nengine = "demo"\ntools = []\n{key} = ["docs_find"]\n[agents.a.mcp.docs]\ncommand = ["docs"]\n'
    )
    assert getattr(load_agents(path)["a"], key) == ("docs_find",)
