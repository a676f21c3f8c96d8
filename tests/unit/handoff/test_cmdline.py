"""The command line of the target, for every signed line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phase_boot.content.version import MAX_VERSION_LENGTH
from phase_boot.handoff.cmdline import (
    MAX_LENGTH,
    OWN,
    BadCommandLine,
    for_target,
    overridden,
    parameter_against_wiping,
    parse,
)
from phase_boot.handoff.unwiped import KEEPS_MEMORY
from phase_boot.trust.manifest import MAX_CMDLINE
from tests.support.linux_parameters import crashkernel, parse_args, switched_on

CASES = json.loads((Path(__file__).parents[2] / "vectors/cmdlines.json").read_text())["cases"]
ROOTFS = f"sha256:{'5' * 64}"
VERSION = "2025.11.12"
MODES = ("internet", "local", "private")
WORDS = st.sampled_from(
    [
        *("quiet", "--", '"', '"--"', "=", "a=b", 'a="b c"', '"a b"=c', "'", "\\"),
        *("phase.mode=local", "phase.rootfs=x", "'phase.mode=local'", 'x="phase.mode=local'),
        *(
            "init_on_free=0",
            "init-on-free=off",
            '"init_on_free=n"',
            "page_poison=1",
            "init_on_free",
        ),
        *("crashkernel=1G", "mem=1M", '"mem=1M"', "mem-map=1", "memmap=1M!1M", "hugepagesz=1G"),
    ]
)
SIGNED = st.one_of(
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_CMDLINE),
    st.text(alphabet='"-= ph', max_size=40),
    st.lists(WORDS, max_size=12).map(" ".join),
    st.lists(WORDS, max_size=12).map("".join),
)


def made(signed: str, mode: str = "internet") -> str:
    return for_target(signed, mode=mode, version=VERSION, rootfs=ROOTFS)


def added_parameters(mode: str) -> dict[str, str]:
    return {"phase.mode": mode, "phase.version": VERSION, "phase.rootfs": ROOTFS}


def assert_reaches_the_kernel(line: str, mode: str) -> None:
    parameters = [(name, value) for name, value in parse_args(line) if name in OWN]
    assert parameters == list(added_parameters(mode).items())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["signed"] or "nothing")
@pytest.mark.parametrize("mode", MODES)
def test_the_hand_over_reaches_the_kernel_or_the_line_is_refused_by_name(
    case: dict[str, str], mode: str
) -> None:
    if mode == "private" and "refused" in case:
        with pytest.raises(BadCommandLine, match="without that word, or another mode") as refused:
            made(case["signed"], mode)
        assert f"`{case['refused']}`" in str(refused.value)
        return
    line = made(case["signed"], mode)
    assert_reaches_the_kernel(line, mode)
    assert switched_on(list(parse_args(line)), "init_on_free") or mode != "private"


@given(SIGNED, st.sampled_from(MODES))
@example('quiet "', "private")
@example("quiet -- quiet", "private")
def test_for_any_signed_line_the_kernel_sees_our_parameters_with_our_values(
    signed: str, mode: str
) -> None:
    try:
        line = made(signed, mode)
    except BadCommandLine:
        assert mode == "private"
        return
    assert len(line) <= MAX_LENGTH
    assert_reaches_the_kernel(line, mode)
    if mode == "private":
        parameters = list(parse_args(line))
        assert switched_on(parameters, "init_on_free")
        names = {name for name, _ in parameters}
        assert "page_poison" not in names
        assert not crashkernel(line)
        assert not {n for n in names & set(KEEPS_MEMORY) if KEEPS_MEMORY[n]("1G")}


@given(SIGNED)
def test_our_parser_reads_what_the_kernel_reads(signed: str) -> None:
    found = [(word.key, word.value) for word in parse(signed).parameters]
    assert found == list(parse_args(signed))


@given(SIGNED)
def test_a_parser_without_quotes_finds_our_parameters_first(signed: str) -> None:
    # As `for word in $command_line` of a shell does.
    for mode in ("internet", "local"):
        first: dict[str, str] = {}
        for word in made(signed, mode).split():
            name, _, value = word.partition("=")
            first.setdefault(name, value)
        assert {name: first[name] for name in OWN} == added_parameters(mode)


@given(SIGNED)
def test_a_parser_with_shell_quotes_finds_only_our_parameters(signed: str) -> None:
    line = made(signed)
    try:
        words = shlex.split(line)
    except ValueError:
        return
    assert [word for word in words if word.partition("=")[0] in OWN] == [
        f"{name}={value}" for name, value in added_parameters("internet").items()
    ]


@given(SIGNED)
def test_parameters_without_conflict_arrive_as_signed(signed: str) -> None:
    line = parse(signed)
    dropped = set(overridden(line, private=False))
    kept = [(word.name, word.value) for word in line.words if word not in dropped]
    arrived = [(word.name, word.value) for word in parse(made(signed)).words]
    assert arrived[len(OWN) :] == kept


def test_a_line_of_the_longest_manifest_is_not_too_long() -> None:
    line = for_target(
        "x" * MAX_CMDLINE,
        mode="private",
        version="1" * MAX_VERSION_LENGTH,
        rootfs=f"sha256:{'f' * 64}",
    )
    assert len(line) <= MAX_LENGTH


def test_a_line_that_is_too_long_is_refused_with_both_lengths() -> None:
    with pytest.raises(BadCommandLine, match=r"has 21\d\d characters .* a kernel takes 2046"):
        made("x" * 2000)


def test_outside_private_no_memory_parameter_is_changed() -> None:
    words = "crashkernel=96M mem=384M init_on_free=0"
    assert made(words).endswith(f" {words}")
    assert "init_on_free=1" not in made("quiet")


def test_a_long_parameter_is_cut_in_the_message() -> None:
    kept = parameter_against_wiping(f"mem={'9' * 500}")
    assert kept is not None
    assert len(kept) < 80
    assert kept.endswith("...`")
