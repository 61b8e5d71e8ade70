"""HTML as text for a model; and never more than linear time."""

from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_worker.tools.readable import readable

URL = "https://example.org/a/b.html"
PAGE = """<!doctype html><html><head><title> The &amp; title </title><style>p {x}</style></head>
<body><!-- not <p>this</p> --><nav><a href="/">Home</a></nav>
<h1>Head<i>ing</i></h1><p>A paragraph
  with <a href="c.html">a link</a> and <code>code</code>.</p>
<ul><li>one<li>two<ol><li>inner</li></ol></ul>
<pre>  kept
    as it is</pre><script>var x = "</p>";</script>
<table><tr><th>a<th>b</tr><tr><td>1</td><td>2</td></tr></table>
<p>5 < 6 &lt; 7</p><a href="javascript:x()">no link</a></body></html>"""


def test_a_page_is_read_as_markdown() -> None:
    """Headings, links made absolute, lists, code and tables; nothing of scripts, styles and comments."""
    title, text = readable(PAGE, URL)
    assert title == "The & title"
    assert "[Home](https://example.org/)" in text
    assert "# Heading\n\nA paragraph with [a link](https://example.org/a/c.html) and `code`." in text
    assert "- one\n- two" in text
    assert "  1. inner" in text
    assert "```\n  kept\n    as it is\n```" in text
    assert " | a | b" in text
    assert " | 1 | 2" in text
    assert "5 < 6 < 7" in text
    assert "no link" in text
    for left_out in ("var x", "p {x}", "not <p>", "javascript"):
        assert left_out not in text


@given(st.text(st.sampled_from('<>/!-"=a hrefpscit &;#x0\n')))
def test_any_text_can_be_read(html: str) -> None:
    """Whatever is broken in it."""
    readable(html, URL)
    readable(f"<body>{html}</body>", "http://[not a url")


@pytest.mark.parametrize(
    ("reference", "character"),
    [
        ("&#" + "9" * 5000 + ";", "\ufffd"),
        ("&#" + "9" * 5000, "\ufffd"),
        ("&#" + "0" * 5000 + "65;", "A"),
        ("&#" + "0" * 5000 + ";", "\ufffd"),
        ("&#x" + "f" * 5000 + ";", "\ufffd"),
        ("&#00000065", "A"),
        ("&#99999999;", "\ufffd"),
        ("&#128169;", "\U0001f4a9"),
    ],
)
def test_a_character_given_by_a_number_however_long_is_read(reference: str, character: str) -> None:
    """In a text, in a link and in a title: a page cannot make the call fail."""
    title, text = readable(f"<title>a{reference}</title><p>b{reference}<p><a href='{reference[:1900]}'>c</a>", URL)
    assert f"b{character}" in text
    assert title[0] == "a"


def test_what_begins_no_tag_is_text() -> None:
    """However many of them there are, in one piece."""
    began = monotonic()
    assert readable("<" * 5_000_000 + "<b>5 <6< 7", URL)[1] == "<" * 5_000_000 + "5 <6< 7"
    assert monotonic() - began < 2


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "< ",
        "</<",
        "<a",
        "<a ",
        "<!--",
        "<![",
        "</",
        "<a href='",
        "<script>",
        "<title>",
        "&",
        "&#",
        "&#9",
        "<a href=x>",
        "<ul>",
        "<pre>",
    ],
)
def test_hostile_pages_take_linear_time(piece: str) -> None:
    """A megabyte of what makes other parsers take hours."""
    began = monotonic()
    readable(piece * (1024 * 1024 // len(piece)), URL)
    assert monotonic() - began < 10
