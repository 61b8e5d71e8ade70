"""HTML as text that a model can read: headings, links, lists, code. Pure, and linear in time whatever the page is.

Not html.parser: hostile pages make it take quadratic time.
"""

import re
from html import unescape
from urllib.parse import urljoin

_SKIPPED = frozenset(("script", "style", "noscript", "template", "svg", "iframe", "object", "select"))
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "fieldset", "figure", "footer", "form"),
        *("header", "hr", "main", "nav", "ol", "p", "section", "table", "tr", "ul"),
    )
)
_HEADINGS = {f"h{n}": "\n\n" + "#" * n + " " for n in range(1, 7)}
_MARKS = {**_HEADINGS, "td": " | ", "th": " | ", "br": "\n"}
_RAW_END = {name: re.compile(rf"</{name}", re.IGNORECASE) for name in ("script", "style", "title")}
_TAG_BEGIN = re.compile(r"<(?=[a-zA-Z!?/])")
"""Any other `<` is text."""
_LONG_REFERENCE = re.compile(r"&#([0-9]{8,});?")
_TAG_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9-]{0,30})")
_HREF = re.compile(r"""\shref=(?:"([^"]{0,2000})"|'([^']{0,2000})'|([^\s>"']{1,2000}))""", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_ATTRIBUTES_CHARS = 4096
LIST_DEPTH = 10


def readable(html: str, url: str) -> tuple[str, str]:
    """Title and text. `url`: what relative links are relative to."""
    reader = _Reader(url)
    at = 0
    while at < len(html):
        tag = _TAG_BEGIN.search(html, at)
        if tag is None:
            reader.text(html[at:])
            break
        reader.text(html[at : tag.start()])
        at = _tag(html, tag.start(), reader)
    reader.end_link()
    return reader.title, "\n".join(_tidy("".join(reader.pieces)))


def _tag(html: str, start: int, reader: "_Reader") -> int:
    """What begins with the `<` at `start`; returns where the next piece begins."""
    if html.startswith("<!--", start):
        end = html.find("-->", start + 4)
        return len(html) if end < 0 else end + 3
    name_match = _TAG_NAME.match(html, start + 1)
    end = html.find(">", start)
    if end < 0:
        return len(html)
    if name_match is None:
        return end + 1
    name = name_match[1].lower()
    if html[start + 1] == "/":
        reader.close(name)
        return end + 1
    raw_end = _RAW_END.get(name)
    if raw_end is not None:  # holds no tags
        found = raw_end.search(html, end + 1)
        stop = len(html) if found is None else found.start()
        if name == "title" and not reader.title:
            reader.title = _BLANKS.sub(" ", _unescaped(html[end + 1 : stop][:1000])).strip()
        return stop if found is None else max(html.find(">", stop) + 1, stop + 1)
    reader.open(name, html[name_match.end() : min(end, name_match.end() + _ATTRIBUTES_CHARS)])
    return end + 1


class _Reader:
    def __init__(self, url: str) -> None:
        self._url = url
        self._skipping: str | None = None
        self._preformatted = 0
        self._lists: list[int | None] = []  # the last number, None in a list of dots
        self._link: tuple[str, int] | None = None  # where it leads, and its place in `pieces`
        self.title = ""
        self.pieces: list[str] = []

    def text(self, text: str) -> None:
        if text and self._skipping is None:
            text = _unescaped(text)
            self.pieces.append(text if self._preformatted else _BLANKS.sub(" ", text))

    def open(self, name: str, attributes: str) -> None:
        if self._skipping is not None or name in _SKIPPED:
            if not attributes.endswith("/"):
                self._skipping = self._skipping or name
            return
        if name in _MARKS:
            self.pieces.append(_MARKS[name])
        elif name == "li":
            self._item()
        elif name == "pre":
            self._preformatted += 1
            self.pieces.append("\n\n```\n")
        elif name == "code" and not self._preformatted:
            self.pieces.append("`")
        elif name == "a":
            self._begin_link(attributes)
        elif name in _BLOCKS:
            self.pieces.append("\n" if self._lists or name == "tr" else "\n\n")
            if name in ("ul", "ol") and len(self._lists) < LIST_DEPTH:
                self._lists.append(0 if name == "ol" else None)

    def close(self, name: str) -> None:
        if self._skipping is not None:
            if name == self._skipping:
                self._skipping = None
            return
        if name == "a":
            self.end_link()
        elif name == "pre" and self._preformatted:
            self._preformatted -= 1
            self.pieces.append("\n```\n\n")
        elif name == "code" and not self._preformatted:
            self.pieces.append("`")
        elif name in _HEADINGS or name in _BLOCKS:
            if name in ("ul", "ol") and self._lists:
                self._lists.pop()
            self.pieces.append("\n" if self._lists or name == "tr" else "\n\n")

    def _begin_link(self, attributes: str) -> None:
        self.end_link()
        href = _HREF.search(attributes)
        if href is not None:
            self._link = (_unescaped(href[1] or href[2] or href[3] or ""), len(self.pieces))

    def end_link(self) -> None:
        if self._link is None:
            return
        (href, start), self._link = self._link, None
        words = "".join(self.pieces[start:]).strip()
        if not words or href.startswith(("#", "javascript:", "data:")):
            return
        try:
            leads_to = urljoin(self._url, href.strip())
        except ValueError:
            return
        self.pieces[start:] = [f"[{words}]({leads_to})" if words != leads_to else words]

    def _item(self) -> None:
        mark = "- "
        if self._lists and self._lists[-1] is not None:
            self._lists[-1] += 1
            mark = f"{self._lists[-1]}. "
        self.pieces.append("\n" + "  " * max(0, len(self._lists) - 1) + mark)


def _unescaped(text: str) -> str:
    """Python converts no number of more than some thousand digits; as a character it would be none anyway."""
    return unescape(_LONG_REFERENCE.sub(_short_reference, text))


def _short_reference(reference: re.Match[str]) -> str:
    number = reference[1].lstrip("0") or "0"
    return f"&#{number};" if len(number) < 8 else "\ufffd"


def _tidy(text: str) -> list[str]:
    """Lines without blanks at their ends, and never two empty ones in a row."""
    lines: list[str] = []
    for line in text.split("\n"):
        line = line.rstrip()
        if line or (lines and lines[-1]):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines
