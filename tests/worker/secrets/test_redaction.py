"""The filter of known secrets: however a text is cut into pieces, none of them gets through."""

import base64
import json
from pathlib import Path
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_agents import Agent, McpServer
from runcast_worker.secrets.known import known_secrets
from runcast_worker.secrets.redaction import REPLACEMENT, Redactor, forms

# Few letters, so that secrets overlap, repeat and begin within one another; none of the replacement's.
secrets = st.lists(st.text("abA", min_size=8, max_size=12), min_size=1, max_size=4)
long_secrets = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=8), max_size=3)


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Secrets, and the pieces of a text that holds some of them, whole and in part."""
    known = draw(secrets)
    parts = [*known, *(secret[:5] for secret in known), *(secret[4:] for secret in known), "a", "b", "-", "\n"]
    text = "".join(draw(st.lists(st.sampled_from(parts), max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return known, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(texts())
def test_pieces_come_out_as_the_whole_would(given_: tuple[list[str], list[str]]) -> None:
    """Wherever the text is cut: nothing is lost, and nothing is replaced twice."""
    known, pieces = given_
    redactor = Redactor(known)
    out = "".join([*map(redactor.feed, pieces), redactor.flush()])
    assert out == Redactor(known).whole("".join(pieces))
    assert not [secret for secret in known if secret in out]


@given(texts())
def test_what_is_held_back_is_shorter_than_the_longest_secret(given_: tuple[list[str], list[str]]) -> None:
    """So the stream flows, and the memory is bounded."""
    known, pieces = given_
    longest = max(len(form) for secret in known for form in forms(secret))
    redactor = Redactor(known)
    fed = shown = 0
    for piece in pieces:
        fed += len(piece)
        shown += len(redactor.feed(piece).replace(REPLACEMENT, ""))
        assert len(redactor._held) < longest
    assert shown <= fed


@given(long_secrets, st.text(max_size=20))
def test_a_secret_is_found_in_the_forms_in_which_programs_quote_it(known: list[str], around: str) -> None:
    """JSON, percent-encoding, and base64 wherever in the encoded text it stands."""
    redactor = Redactor(known)
    for secret in known:
        assert secret not in redactor.whole(around + secret + around)
        for form in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")):
            assert form not in redactor.whole(f"<{form}>")
        for before in range(3):
            encoded = base64.b64encode(b"u:x"[:before] + secret.encode() + b"yz").decode()
            assert REPLACEMENT in redactor.whole(encoded)


def test_a_secret_that_repeats_itself_is_replaced_once_as_a_run() -> None:
    """However long the run is, what is held back stays short."""
    redactor = Redactor(["aaaaaaaa"])
    out = [redactor.feed("a" * 100) for _ in range(100)]
    assert "".join([*out, redactor.feed("b"), redactor.flush()]) == f"{REPLACEMENT}b"


def test_values_are_filtered_in_all_their_texts() -> None:
    """Names of objects too; numbers stay."""
    redactor = Redactor(["opensesame"])
    value = redactor.value({"opensesame": ["x opensesame", 1, None, {"a": True}], "lone": "\ud800"})
    assert value == {"[secret]": ["x [secret]", 1, None, {"a": True}], "lone": "?"}


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("OPENAI_API_KEY", "sk-aaaaaaaaaaaa", "sk-aaaaaaaaaaaa"),
        ("MY_PASSWORD", "correct horse", "correct horse"),
        ("SENTRY_DSN", "https://abc@host/1", "https://abc@host/1"),
        ("AWS_SECRET_ACCESS_KEY", "/aBcDeF/gHiJ+kLm", "/aBcDeF/gHiJ+kLm"),
        ("RUNCAST_REDIS_URL", "redis://u:p%40ssw0rd@h/0", "p@ssw0rd"),
        ("RUNCAST_REDIS_URL", "redis+sentinel://u:p%40ssw0rd@h:1,i:2/main", "p@ssw0rd"),
        ("RUNCAST_REDIS_URL", "redis+sentinel://h/main?sentinel_password=p%40ssw0rd", "p@ssw0rd"),
        ("DATABASE_URL", "postgres://u:hunter2hunter2@h/db", "hunter2hunter2"),
        ("GPG_PASSPHRASE", "correct horse", "correct horse"),
        ("DB_PASS", "correct horse", "correct horse"),
        ("PADDED_KEY", " sk-aaaaaaaaaaaa\n", "sk-aaaaaaaaaaaa"),
        ("ORIGIN", "https://ghp_aaaaaaaa@host/x", "ghp_aaaaaaaa"),
        ("ORIGIN", "git+https://ghp_aaa%2Faaaa@host/x\n", "ghp_aaa/aaaa"),
        ("ORIGIN", "https://sk_live_aaaaaaaa:@host/x", "sk_live_aaaaaaaa"),
        ("ORIGIN", f"https://ghp_{'a' * 36}:x-oauth-basic@host/x", f"ghp_{'a' * 36}"),
        ("DATABASE_URL", "postgres://postgres@h/db", None),
        ("HOME", "/home/somebody", None),
        ("SSH_KEY_FILE", "/etc/passwd", None),
        ("TOKEN_COUNT", "123456789", None),
        ("USE_API_KEY", "true", None),
        ("SHORT_KEY", "abc", None),
        ("DATABASE_URL", "postgres://h/db", None),
        ("BROKEN_URL", "http://[x@y", None),
    ],
)
def test_the_values_of_an_environment_that_are_secrets(name: str, value: str, secret: str | None) -> None:
    """By the name, unless the value is plainly none; and passwords in URLs, decoded too."""
    found = known_secrets({name: value})
    assert (secret in found) if secret is not None else not found


KEY_LINES = [f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBK{i:02}" for i in range(20)]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *KEY_LINES, "QmFzZTY0IQ==", "-----END PRIVATE KEY-----", ""])


@pytest.mark.parametrize("value", [PEM, PEM.replace("\n", "\r\n"), PEM.replace("\n", "\\n")])
def test_a_secret_of_several_lines_is_found_whole_and_by_its_lines(value: str) -> None:
    """As a terminal prints it, with the lines numbered or indented, one line alone, and in its quoted forms."""
    redactor = Redactor(known_secrets({"TLS_KEY": value}))
    for ending in ("\n", "\r\n", "\\n"):
        assert redactor.whole(f"<{PEM.strip()}>".replace("\n", ending)) == f"<{REPLACEMENT}>"
    numbered = "".join(f"{i:6}\t    {line}\r\n" for i, line in enumerate(PEM.split("\n")))
    for text in (numbered, KEY_LINES[3], json.dumps(PEM), quote(PEM)):
        told = redactor.whole(text)
        assert REPLACEMENT in told
        assert not [line for line in KEY_LINES if line in told]
    assert redactor.whole("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_a_long_secret_takes_the_filter_no_long_time() -> None:
    """A key of a hundred lines, and ten megabytes of output: some seconds, on a slow machine too."""
    lines = [base64.b64encode(bytes([i]) * 48).decode() for i in range(100)]
    redactor = Redactor(known_secrets({"TLS_KEY": "\n".join(lines)}))
    piece = "".join(f"{i:07}\n" for i in range(1024))
    began = process_time()
    for _ in range(128):
        redactor.feed(piece)
    assert process_time() - began < 1


def test_what_mcp_servers_are_given_is_secret(tmp_path: Path) -> None:
    """A variable by whatever name it has in the environment, and a token that stands in the file."""
    server = McpServer(url="http://x/", headers={"Authorization": "Bearer in-the-file", "X-Team": "${TEAM_PASS}"})
    agent = Agent(engine="demo", mcp={"a": server, "b": McpServer(command=("x",), env={"HOW": "${HOW_SO}"})})
    environ = {"TEAM_PASS": "tttttttt", "HOW_SO": "hhhhhhhh", "OTHER": "oooooooo"}
    assert known_secrets(environ, [agent]) == {"tttttttt", "hhhhhhhh", "in-the-file", "Bearer in-the-file"}
