"""What is compiled into the seed."""

from image.steps import python, seed


def test_entry_points_are_written_as_importlib_reads_them() -> None:
    points = {"entry-points": {"phase_boot.states": {"init": "states.init:HANDLER"}}}
    text = python.entry_points(points)
    assert text == "[phase_boot.states]\ninit = states.init:HANDLER\n"


def test_metadata_keeps_its_head_alone() -> None:
    text = "Metadata-Version: 2.4\nName: x\nVersion: 1\nRequires-Dist: y\n\nName: not this\n"
    assert python.head_of(text) == "Metadata-Version: 2.4\nName: x\nVersion: 1\n"


def test_the_launcher_reads_neither_environment_nor_site() -> None:
    assert seed.launcher("main").startswith("#!/usr/bin/python3 -IS\n")
