"""Reads a page as strictly as the standard's parser would complain, and answers what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"br", "img", "input", "link", "meta", "rect", "wbr"})


@dataclass(slots=True)
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if element.tag == tag and all(element.attributes.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """As a reader sees it: white space folded."""
        return " ".join("".join(self._pieces()).split())

    def _pieces(self) -> Iterator[str]:
        yield from self.texts
        for child in self.children:
            if child.tag not in ("script", "style"):
                yield from child._pieces()


class _Strict(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        # A text is a child too, so that the order of reading is kept.
        self.open[-1].children.append(Element("text", {}, texts=[data]))


def parse(page: str) -> Element:
    """The document; fails where tags do not balance, an id is there twice, or a reference leads nowhere."""
    assert page.startswith("<!DOCTYPE html>")
    reader = _Strict()
    reader.feed(page)
    reader.close()
    assert reader.open == [reader.root], f"not closed: {[element.tag for element in reader.open[1:]]}"
    ids = Counter(element.attributes["id"] for element in reader.root.walk() if "id" in element.attributes)
    assert all(count == 1 for count in ids.values()), ids.most_common(1)
    for element in reader.root.walk():
        label = element.attributes.get("aria-labelledby")
        assert label is None or label in ids, f"<{element.tag}> is labelled by {label}, which is not there"
        target = element.attributes.get("href", "")
        assert not target.startswith("#") or target[1:] in ids
    return reader.root
