"""Paths of the mirror layout are read back as they are written, and nothing else is."""

from __future__ import annotations

import pytest

from phase_boot.store.layout import read_record_path, record_paths
from tests.support.ipns_records import NAME


def test_a_record_has_a_path_for_each_protocol() -> None:
    paths = record_paths(NAME)
    assert paths == (f"routing/v1/ipns/{NAME}", f"ipns/{NAME}")
    assert [read_record_path(path) for path in paths] == [NAME, NAME]


@pytest.mark.parametrize(
    "path",
    [
        "",
        str(NAME),
        f"/ipns/{NAME}",
        f"ipns//{NAME}",
        f"ipns/{NAME}/",
        f"ipns/{NAME}.json",
        f"ipns/{str(NAME).upper()}",
        f"ipns/{str(NAME)[:-1]}",
        f"routing/v1/{NAME}",
        "ipns/example.org",
    ],
)
def test_another_path_is_none_of_a_record(path: str) -> None:
    assert read_record_path(path) is None
