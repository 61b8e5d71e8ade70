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
    "piece",
    [
        "<",
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
