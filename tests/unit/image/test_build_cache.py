"""Steps are done once, and done again when anything they are made of has changed."""

import os
from pathlib import Path

import pytest

from image.build_cache import KEPT, BuildCache, Step, digest_of, key


def write_hello(out: Path) -> None:
    out.write_text("hello")


def fail(out: Path) -> None:
    out.write_text("half")
    raise RuntimeError("half-way")


def step(**changes: object) -> Step:
    fields: dict[str, object] = {"name": "hello", "description": "say hello", "make": write_hello}
    return Step(**(fields | changes))  # type: ignore[arg-type] # fields of the step under test


def test_a_step_is_done_once(tmp_path: Path) -> None:
    builds = BuildCache(tmp_path)
    made = builds.run(step())
    made.write_text("kept")
    assert builds.run(step()) == made
    assert made.read_text() == "kept"


def test_a_rehearsal_tells_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BuildCache(tmp_path, dry_run=True).run(step())
    assert list(tmp_path.iterdir()) == []
    assert "say hello [to do]" in capsys.readouterr().out


def test_a_step_that_fails_leaves_no_output(tmp_path: Path) -> None:
    builds = BuildCache(tmp_path)
    with pytest.raises(RuntimeError, match="half-way"):
        builds.run(step(make=fail))
    assert not list(tmp_path.glob("hello-*"))


def test_the_key_follows_parameters_files_and_earlier_steps(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("1")
    keys = [key(step(options=("a",))), key(step(options=("b",))), key(step(inputs=(source,)))]
    source.write_text("2")
    keys += [key(step(inputs=(source,))), key(step(depends_on=(Path("packages-0123"),)))]
    assert len(set(keys)) == len(keys)
    assert key(step(options=("a",))) == keys[0]


def test_what_a_step_says_is_not_what_it_makes() -> None:
    assert key(step(description="other words")) == key(step())


def test_a_folder_is_its_names_contents_and_execute_bits(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_of(tmp_path)
    os.utime(tmp_path / "a", (0, 0))
    assert digest_of(tmp_path) == first
    (tmp_path / "a").chmod(0o755)
    assert digest_of(tmp_path) != first


def test_bytecode_of_the_builder_changes_no_key(tmp_path: Path) -> None:
    first = digest_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("1")
    assert digest_of(tmp_path) == first


def test_old_outputs_are_forgotten_and_other_steps_stay(tmp_path: Path) -> None:
    builds = BuildCache(tmp_path)
    other = builds.run(step(name="hello-world"))
    made = [builds.run(step(options=(str(number),))) for number in range(KEPT + 2)]
    assert [path.exists() for path in made] == [False, False, *([True] * KEPT)]
    assert other.exists()
