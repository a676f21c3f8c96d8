"""The documents name only what the tree has, and each decision has the same form.

Paths, modules, members, classes and the targets of links are compared with the tree, because a page
with a former name misleads its readers. Only text between backticks is judged, outside of fenced
blocks, and a path only where its first part is a folder of the repository or of `phase_boot`:
`root/1.json` is a file of a SITE, and `/phase/handoff.json` one of a running system.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *(ROOT / "tests" / "vectors").rglob("README.md"),
    ]
)
INDEX: Final = ROOT / "docs" / "adr" / "README.md"
DECISIONS: Final = sorted(INDEX.parent.glob("[0-9]*.md"))
SECTIONS: Final = ["Context", "Decision", "Alternatives", "Consequences"]
BASES: Final = (ROOT, ROOT / "phase_boot")
PACKAGES: Final = ("phase_boot", "states", "image", "tests")
FENCED: Final = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
SPAN: Final = re.compile(r"`([^`\n]+)`")
FILE: Final = re.compile(r"[\w.-]+(?:/[\w.*-]+)+/?")
DOTTED: Final = re.compile(r"[a-z]\w*(?:\.\w+)+(?:\(\))?")
CLASS: Final = re.compile(r"(?:[A-Z][a-z0-9]+){2,}")
OTHERS: Final = frozenset({"AsyncMachine", "BootNext", "CancelledError", "ExceptionGroup"})
"""Names of Python, of libraries and of UEFI."""
LINK: Final = re.compile(r"\]\(([^()\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
MADE: Final = frozenset(each.strip("/") for each in (ROOT / ".gitignore").read_text().split())
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRY_POINT_GROUPS: Final = frozenset(PROJECT["entry-points"])


def text_of(page: Path) -> str:
    return FENCED.sub("", page.read_text())


@cache
def folders() -> frozenset[str]:
    """The first parts of paths that are judged; those that git ignores are not."""
    return frozenset(path.name for base in BASES for path in base.iterdir() if path.is_dir()) - MADE


def exists(path: str) -> bool:
    spellings = (path.rstrip("/"), f"{path}.py")
    return any(any(base.glob(name)) for base, name in product(BASES, spellings))


def missing_files(page: Path) -> list[str]:
    spans = [span.partition("::")[0] for span in SPAN.findall(text_of(page))]
    paths = [word for span in spans for word in span.split() if FILE.fullmatch(word)]
    return [path for path in paths if path.split("/")[0] in folders() and not exists(path)]


@cache
def names_something(dotted: str) -> bool:
    """Whether the longest prefix that is a module has the rest as its members."""
    parts = dotted.removesuffix("()").split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def missing_names(page: Path) -> list[str]:
    spans = [word for span in SPAN.findall(text_of(page)) for word in span.split()]
    dotted = [span for span in spans if DOTTED.fullmatch(span)]
    ours = [name for name in dotted if name.split(".")[0] in PACKAGES]
    return [name for name in ours if name not in ENTRY_POINT_GROUPS and not names_something(name)]


@cache
def words_of_the_code() -> frozenset[str]:
    folders = ("phase_boot", "states", "policies", "loader", "image")
    sources = (path for name in folders for path in (ROOT / name).rglob("*.py"))
    return frozenset(word for path in sources for word in re.findall(r"\w+", path.read_text()))


def missing_classes(page: Path) -> list[str]:
    spans = [span.split(".")[0] for span in SPAN.findall(text_of(page))]
    named = [span for span in spans if CLASS.fullmatch(span)]
    return [name for name in named if name not in OTHERS | words_of_the_code()]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in HEADING.findall(text_of(page)))
    return {head.replace(" ", "-") for head in plain}


def broken_links(page: Path) -> list[str]:
    def leads(link: str) -> bool:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        return target.exists() and (not anchor or anchor in anchors(target))

    links = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    return [link for link in links if not leads(link)]


def test_names_that_do_not_exist_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A head\n`machine/guard.py` `machine/gone.py` `image/steps` `root/1.json` `store/disk`\n"
        "`phase_boot.url.Url` `phase_boot.url.Gone` `phase_boot.gone` `phase_boot.states`\n"
        "`ContentStore` `GoneClass` `Kexec.load`\n"
        "[a](#a-head) [b](#gone) [c](gone.md) [d](https://example.org)\n"
        "```\n`machine/in_a_block.py`\n```\n"
    )
    assert missing_files(page) == ["machine/gone.py"]
    assert missing_names(page) == ["phase_boot.url.Gone", "phase_boot.gone"]
    assert missing_classes(page) == ["GoneClass"]
    assert broken_links(page) == ["#gone", "gone.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_exists(page: Path) -> None:
    assert missing_files(page) == []
    assert missing_names(page) == []
    assert missing_classes(page) == []
    assert broken_links(page) == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_status_context_decision_alternatives_and_consequences(page: Path) -> None:
    text = page.read_text()
    assert re.search(r"^\*\*Status\*\*: (?:accepted|superseded by \[)", text, re.MULTILINE)
    heads = [head for head in HEADING.findall(text) if head in SECTIONS]
    assert heads == SECTIONS


def test_the_index_lists_every_decision_once() -> None:
    rows = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \|", INDEX.read_text(), re.MULTILINE)
    assert [name for _, name in rows] == [page.name for page in DECISIONS]
    assert [number for number, _ in rows] == [page.name[:4] for page in DECISIONS]
