"""Reading the registers of a TPM."""

from pathlib import Path

from phase_boot.adapters.system.tpm import BANK, pcrs


def put(root: Path, number: int, text: str) -> None:
    folder = root / BANK
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(number)).write_text(text)


def test_the_registers_are_read_as_receipts_spell_them(tmp_path: Path) -> None:
    put(tmp_path, 4, "AB" * 32 + "\n")
    put(tmp_path, 9, "00" * 32 + "\n")
    assert pcrs(tmp_path) == {4: "ab" * 32, 9: "00" * 32}


def test_a_machine_without_a_tpm_has_none(tmp_path: Path) -> None:
    assert pcrs(tmp_path) == {}


def test_invalid_register_values_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, 1, "AB" * 20)
    put(tmp_path, 2, "no")
    (tmp_path / BANK / "3").write_bytes(b"\xff\xfe")
    (tmp_path / BANK / "5").mkdir()
    put(tmp_path, 23, "AB" * 32)
    assert pcrs(tmp_path) == {}
