"""HTML pages as tests read them."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects tags with their attributes, rows of cells, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._html = html
        self._in_cell = self._in_script = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag == "code")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if not self._in_script:
            self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data

    def values(self, attribute: str, tag: str | None = None) -> list[str]:
        """The values of an attribute, of one tag or of all, in order."""
        return [
            str(attributes[attribute])
            for found, attributes in self.tags
            if attribute in attributes and tag in (None, found)
        ]

    def is_self_contained(self) -> bool:
        """Whether the page loads nothing from outside."""
        loading = {"link", "iframe", "object", "embed"} & {tag for tag, _ in self.tags}
        embedded = all(source.startswith("data:image/png;base64,") for source in self.values("src"))
        rest = re.sub(r"base64,[^\"]*", "", self._html)
        return not loading and embedded and not re.search(r"https?:|url\(|@import|//\w", rest)
