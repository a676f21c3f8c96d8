"""A step runs again when an input of its result changed, and not otherwise."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from image.build_cache import KEPT, BuildCache, Step
from image.tools import Tool

STEP = """
from project import own
from project.deep import used
from image.tools import Tool

def make(prefix, data, earlier, out):
    if False:
        print(Tool.ZSTD)
    text = prefix + own.WORD + used.WORD + data.read_text() + earlier.read_text()
    out.write_text(text)

def upstream(source, out):
    out.write_text(source.read_text()[:1])

def fail(out):
    out.write_text("half")
    raise RuntimeError("half-way")

def lazy(out):
    from project.deep import late
    out.write_text(late.WORD)
"""
FILES = {
    "image/__init__.py": "",
    "image/tools.py": "class Tool: ...\n",
    "project/__init__.py": "",
    "project/step.py": STEP,
    "project/own.py": "WORD = 'own'\n",
    "project/deep/__init__.py": "",
    "project/deep/used.py": "from . import base\nWORD = base.WORD\n",
    "project/deep/base.py": "WORD = 'base'\n",
    "project/deep/late.py": "WORD = 'late'\n",
    "project/deep/unrelated.py": "WORD = 'no import of the step'\n",
    "data/file": "data",
    "data/upstream": "earlier",
    "data/unrelated": "not read",
}


class Project:
    """A project in a folder, whose steps are run anew as another process would run them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions: dict[Tool, str] = {}
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def cache(self, *, dry_run: bool = False) -> BuildCache:
        def version(tool: Tool) -> str:
            return self.versions.get(tool, "1")

        folder = self.root / "build"
        folder.mkdir(exist_ok=True)
        return BuildCache(folder, dry_run=dry_run, repository=self.root, tool_version=version)

    def functions(self) -> Any:
        for name in [each for each in sys.modules if each.partition(".")[0] == "project"]:
            del sys.modules[name]
        spec = importlib.util.spec_from_file_location("project.step", self.root / "project/step.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(self.root))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(self.root))
        return module

    def build(self, prefix: str = "p") -> Path:
        """Run an upstream step and the step that uses its result; return the latter's result."""
        cache, functions = self.cache(), self.functions()
        source = self.root / "data/upstream"
        earlier = cache.run(step(partial(functions.upstream, source), name="upstream"))
        data = self.root / "data/file"
        return cache.run(step(partial(functions.make, prefix, data, earlier)))


def step(make: partial[None], *, name: str = "step", options: tuple[str, ...] = ()) -> Step:
    return Step(name=name, description="a step", make=make, options=options)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("project/step.py", STEP + "# a comment\n"),
        ("project/own.py", "WORD = 'other'\n"),
        ("project/deep/base.py", "WORD = 'other'\n"),
        ("project/deep/late.py", "WORD = 'other'\n"),
        ("project/deep/__init__.py", "# runs before its modules\n"),
        ("data/file", "other"),
        ("data/upstream", "other"),
    ],
    ids=["own code", "import", "import of an import", "lazy import", "package", "data", "upstream"],
)
def test_a_changed_input_runs_the_step_again(project: Project, name: str, text: str) -> None:
    before = project.build()
    assert project.build() == before
    project.write(name, text)
    assert project.build() != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("project/deep/unrelated.py", "WORD = 'other'\n"),
        ("data/unrelated", "other"),
        ("data/upstream", "e, and the result of the upstream step stays as it was"),
    ],
    ids=["code", "data", "an equal result upstream"],
)
def test_an_unrelated_change_runs_nothing_again(project: Project, name: str, text: str) -> None:
    before = project.build()
    project.write(name, text)
    assert project.build() == before


def test_an_argument_an_option_and_a_tool_count(project: Project) -> None:
    before = project.build()
    assert project.build(prefix="other") != before
    project.versions[Tool.MKSQUASHFS] = "2"
    assert project.build() == before
    project.versions[Tool.ZSTD] = "2"
    assert project.build() != before
    make = partial(project.functions().lazy)
    cache = project.cache()
    assert cache.key(step(make, options=("a",))) != cache.key(step(make, options=("b",)))


def test_the_time_stamp_of_the_image_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.build()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert project.build() != before


def test_a_result_is_made_once(project: Project) -> None:
    made = project.build()
    assert made.read_text() == "pownbasedatae"
    made.write_text("cached")
    assert project.build().read_text() == "cached"


def test_an_argument_without_a_stable_key_is_refused(project: Project) -> None:
    upstream = project.functions().upstream
    with pytest.raises(TypeError, match="no key stands for a object"):
        project.cache().key(step(partial(upstream, object())))
    with pytest.raises(ValueError, match="neither of the repository"):
        project.cache().key(step(partial(upstream, Path("/etc/hosts"))))


def test_a_dry_run_lists_the_steps_and_runs_none(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.cache(dry_run=True).run(step(partial(project.functions().lazy)))
    assert list((project.root / "build").iterdir()) == []
    assert "a step [to do]" in capsys.readouterr().out


def test_a_step_that_fails_leaves_no_result(project: Project) -> None:
    cache = project.cache()
    with pytest.raises(RuntimeError, match="half-way"):
        cache.run(step(partial(project.functions().fail)))
    assert not list(cache.folder.glob("step-*"))


def test_old_results_are_removed_and_other_steps_keep_theirs(project: Project) -> None:
    cache, lazy = project.cache(), project.functions().lazy
    other = cache.run(step(partial(lazy), name="step-two"))
    made = [cache.run(step(partial(lazy), options=(str(n),))) for n in range(KEPT + 2)]
    assert [path.exists() for path in made] == [False, False, *([True] * KEPT)]
    assert other.exists()
