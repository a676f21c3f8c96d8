"""The entries for systemd-boot."""

from dataclasses import replace

import pytest

from loader.entries import Entry, configuration, menu

MENU_COLUMNS = 76
"""Characters of a title on a text console of 80 columns."""
ENTRY = Entry(
    name="phase-internet",
    title="Internet",
    sort_key="phase-1",
    version="0.1.0",
    linux="/phase/vmlinuz",
    initrd="/phase/initramfs",
    options="quiet phase.mode=internet",
)


def test_the_menu_has_exactly_internet_local_private_in_this_order() -> None:
    entries = menu(version="1", linux="/k", initrd="/i", options="quiet")
    names = [entry.title.partition(":")[0] for entry in entries]
    assert names == ["Internet", "Local", "Private"]
    assert max(len(entry.title) for entry in entries) <= MENU_COLUMNS
    assert sorted(entries, key=lambda entry: entry.sort_key) == list(entries)


def test_entries_differ_in_their_mode_alone() -> None:
    entries = menu(version="1", linux="/k", initrd="/i", options="quiet")
    assert [e.options for e in entries] == [
        f"phase.mode={mode} quiet" for mode in ("internet", "local", "private")
    ]
    assert len({(e.linux, e.initrd, e.version) for e in entries}) == 1


def test_the_entries_follow_the_boot_loader_specification() -> None:
    assert ENTRY.text().splitlines() == [
        "title Internet",
        "sort-key phase-1",
        "version 0.1.0",
        "linux /phase/vmlinuz",
        "initrd /phase/initramfs",
        "options quiet phase.mode=internet",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("options", "quiet\noptions init=/bin/sh"),
        ("title", ""),
        ("name", "../../EFI/BOOT/x"),
        ("linux", "vmlinuz"),
        ("initrd", "initramfs"),
    ],
)
def test_a_line_that_would_be_read_as_another_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"entry|ESP"):
        replace(ENTRY, **{field: value})


def test_the_boot_menu_does_not_allow_editing_the_command_line() -> None:
    assert "editor no\n" in configuration(timeout=3)


def test_the_loader_adds_no_entries_of_its_own() -> None:
    text = configuration(timeout=3)
    assert "auto-entries no\n" in text
    assert "auto-firmware no\n" in text
    assert text.startswith("timeout 3\ndefault phase-internet.conf\n")
