"""The Korean pages: README.ko.md and docs/ko/, each beside the English page of its name.

python tests/translations.py      # takes the code blocks of the English pages over (make docs)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

BLOCK = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def translations() -> Iterator[tuple[Path, Path]]:
    """The Korean pages, each with its English one."""
    yield ROOT / "README.ko.md", ROOT / "README.md"
    for page in sorted((ROOT / "docs/ko").rglob("*.md")):
        yield page, ROOT / "docs" / page.relative_to(ROOT / "docs/ko")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    """The levels of a page's headings: #, ##, ..."""
    return HEADING.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))


def pictures(page: Path) -> list[Path]:
    return [(page.parent / target).resolve() for target in PICTURE.findall(page.read_text(encoding="utf-8"))]


def renew() -> None:
    """Replace the code blocks of each Korean page by those of its English page, where there are as many."""
    for page, original in translations():
        new = blocks(original)
        if len(blocks(page)) == len(new):
            before, *after = BLOCK.split(page.read_text(encoding="utf-8"))
            text = before + "".join(block + words for block, words in zip(new, after, strict=True))
            page.write_text(text, encoding="utf-8")
        else:
            print(f"{page.relative_to(ROOT)} has {len(blocks(page))} code blocks, the English page {len(new)}")


if __name__ == "__main__":
    renew()
