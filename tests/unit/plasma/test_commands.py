"""`phase-boot plasma`: arguments, output and exit statuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from image.hello import SOURCE, hello
from phase_boot.cli.main import main
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_root import channel, root_document, signed_root
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import read_receipt, sign_receipt
from tests.support.receipts import MODULE, NODE, OTHER_NODE, booted, receipt
from tests.support.wasm_modules import TRAPPING, doing

JOB: Final = SOURCE / "hello.json"


@dataclass(frozen=True)
class CommandResult:
    status: int
    out: str
    err: str


@pytest.fixture
def plasma(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: object) -> CommandResult:
        try:
            status = main(["plasma", *map(str, words)])
        except SystemExit as ended:
            status = int(str(ended.code))
        return CommandResult(status, *capsys.readouterr())

    return run


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "hello.wasm"
    path.write_bytes(hello())
    return path


def job_file(folder: Path, module: bytes, **changes: object) -> Path:
    table = {"name": "job", "module": str(Digest.of(module)), "size": len(module)}
    (folder / "job.wasm").write_bytes(module)
    (folder / "job.json").write_text(json.dumps(table | changes))
    return folder / "job.json"


# ---- run ----------------------------------------------------------------------------------------
def test_hello_writes_its_input_backwards_and_its_environment(plasma: Any, module: Path) -> None:
    result = plasma("run", JOB, "--module", module)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == "| .tooB esahP yb detoob saw enihcam sihT"
    found = read_receipt(lines[-1].encode())
    assert lines[1] == f"| ran on {found.arch}, booted none, as {found.node}"
    assert lines[2] == "hello: exited with 0"
    assert (found.job, found.booted, found.mode) == ("hello", None, "none")
    assert result.err == "the node key is temporary, for this run only\n"


def test_the_module_of_hello_is_the_pinned_one() -> None:
    assert str(Digest.of(hello())) == json.loads(JOB.read_text())["module"]


def test_hello_takes_any_input(plasma: Any, module: Path, tmp_path: Path) -> None:
    for text, turned in (
        ("", ""),
        ("a", "a"),
        ("ab\n", "\nba"),
        ("x" * 4095 + "y", "y" + "x" * 4095),
    ):
        changed = tmp_path / "hello.json"
        changed.write_text(json.dumps(json.loads(JOB.read_text()) | {"stdin": text}))
        result = plasma("run", changed, "--module", module)
        assert result.status == 0
        out = "\n".join(line[2:] for line in result.out.splitlines() if line.startswith("| "))
        assert out.partition("\nran on ")[0] == turned


def test_a_receipt_is_kept_listed_and_verified(plasma: Any, module: Path, tmp_path: Path) -> None:
    folder, node = tmp_path / "receipts", tmp_path / "node.key"
    result = plasma("run", JOB, "--module", module, "--receipts", folder, "--node", node)
    assert result.status == 0
    assert result.err == f"the node key {node} was created\n"
    (kept,) = folder.iterdir()
    assert result.out.splitlines()[-1] == f"stored in {kept}"
    found = read_receipt(kept.read_bytes())
    listed = plasma("ls", folder)
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.endswith(f"  {found.node[8:20]}  exited with 0\n")
    result = plasma("verify", kept, "--module", module, "--node", found.node)
    assert (result.status, result.err) == (0, "")
    assert [line[:4] for line in result.out.splitlines()] == ["ok  "] * 3
    assert plasma("verify", kept, "--node", node).status == 0


def test_the_module_may_lie_in_a_store(plasma: Any, module: Path, tmp_path: Path) -> None:
    entry = tmp_path / "site" / "cas" / "sha256" / Digest.of(hello()).hex
    entry.parent.mkdir(parents=True)
    shutil.copy(module, entry)
    assert plasma("run", JOB, "--store", tmp_path / "site").status == 0


def test_a_job_that_ends_badly_has_a_status_of_its_own_and_a_receipt(
    plasma: Any, tmp_path: Path
) -> None:
    result = plasma("run", job_file(tmp_path, TRAPPING), "--module", tmp_path / "job.wasm")
    assert result.status == 3
    assert "job: trapped (wasm `unreachable` instruction executed)" in result.out
    assert read_receipt(result.out.splitlines()[-1].encode()).reason.startswith("wasm")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, "not run (its module {module} cannot be read: No such file or directory)"),
        (b"\0asm", "unusable module (its hash or size is not the job's)"),
    ],
    ids=["missing", "another"],
)
def test_a_module_that_is_not_the_job_s_is_not_run(
    module: bytes | None, reason: str, plasma: Any, tmp_path: Path
) -> None:
    job, path = job_file(tmp_path, TRAPPING), tmp_path / "x"
    if module is not None:
        path.write_bytes(module)
    result = plasma("run", job, "--module", path)
    assert result.status == 3
    assert f"job: {reason.format(module=path)}" in result.out


def test_output_of_a_job_is_escaped_for_the_terminal(plasma: Any, tmp_path: Path) -> None:
    vector = (
        r'(data (i32.const 0) "\10\00\00\00\09\00\00\00") (data (i32.const 16) "\1b[2J\ff\0a| x")'
    )
    once = "(drop (call $write (i32.const {}) (i32.const 0) (i32.const 1) (i32.const 8)))"
    wat = doing(once.format(1) + once.format(2), vector)
    result = plasma("run", job_file(tmp_path, wat), "--module", tmp_path / "job.wasm")
    assert result.status == 0
    assert result.out.splitlines()[:4] == [r"| \x1b[2J\xff", "| | x", r"! \x1b[2J\xff", "! | x"]
    assert all(line.isprintable() for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "document.not-json"),
        ('{"name": "x"}', "document.bad-field"),
        ('{"name": "x", "name": "y"}', "document.duplicate-key"),
    ],
)
def test_an_invalid_job_is_refused_in_one_sentence(
    text: str, code: str, plasma: Any, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(text)
    result = plasma("run", tmp_path / "job.json", "--module", tmp_path / "x")
    assert (result.status, result.out) == (1, "")
    assert f"[{code}]" in result.err
    assert result.err.count("\n") == 1


def test_read_and_write_errors_are_reported_in_one_sentence(
    plasma: Any, module: Path, tmp_path: Path
) -> None:
    result = plasma("run", tmp_path / "gone", "--module", module)
    assert result == CommandResult(
        1, "", f"{tmp_path}/gone cannot be read: No such file or directory.\n"
    )
    result = plasma("run", JOB, "--module", module, "--receipts", "/proc/receipts")
    assert result.status == 1
    assert "The receipt cannot be stored in /proc/receipts" in result.err
    assert "printed" in result.err
    assert "hello: exited with 0" in result.out
    assert read_receipt(result.out.splitlines()[-1].encode()).exit == 0
    result = plasma("run", JOB, "--module", module, "--node", "/proc/node.key")
    assert result.status == 1
    assert result.err.startswith("The node key cannot be written to /proc/node.key")
    assert result.out == ""


def test_a_job_needs_exactly_one_module_option(plasma: Any, module: Path, tmp_path: Path) -> None:
    assert plasma("run", JOB).status == 2
    assert plasma("run", JOB, "--module", module, "--store", tmp_path).status == 2


# ---- verify -------------------------------------------------------------------------------------
@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(sign_receipt(NODE, receipt()))
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "root").mkdir(parents=True)
    (folder / "root" / "1.json").write_bytes(
        signed_root(root_document(channels={"stable": channel(PUBLISHER)}))
    )
    place = folder / "stable" / "amd64"
    place.mkdir(parents=True)
    (place / "manifest.json").write_bytes(signed(document()))
    return folder


def test_a_changed_receipt_is_refused_by_name(plasma: Any, kept: Path) -> None:
    kept.write_bytes(kept.read_bytes().replace(b'"fuel":1234', b'"fuel":1235'))
    result = plasma("verify", kept)
    assert result.status == 1
    assert result.out.startswith(f"BAD {kept}: The receipt is not what {NODE.keyid} signed")
    assert result.out.endswith("[receipt.bad-signature]\n")
    assert result.err == f"{kept} failed 1 check(s).\n"


def test_a_receipt_of_another_machine_or_module_is_refused_by_name(
    plasma: Any, kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "module").write_bytes(MODULE + b"\0")
    result = plasma("verify", kept, "--node", OTHER_NODE.keyid, "--module", tmp_path / "module")
    assert result.status == 1
    codes = [line.rpartition(" ")[2] for line in result.out.splitlines()[1:]]
    assert codes == ["[receipt.wrong-node]", "[receipt.wrong-module]"]


def test_a_receipt_is_checked_against_a_site(plasma: Any, kept: Path, site: Path) -> None:
    result = plasma("verify", kept, "--against", site)
    assert (result.status, result.err) == (0, "")
    verdict = "published the manifest that the machine booted, signed by trusted keys"
    assert result.out.splitlines()[-1] == f"ok  {site}: {verdict}"


def test_an_earlier_manifest_that_the_site_keeps_counts_as_well(
    plasma: Any, kept: Path, site: Path
) -> None:
    place = site / "stable" / "amd64"
    (place / "manifest.json").write_bytes(signed(document(version="2026.1")))
    result = plasma("verify", kept, "--against", site)
    assert result.status == 1
    assert "has no manifest sha256:" in result.out
    (place / "manifests").mkdir()
    name = f"{Digest.of(signed_bytes(document())).hex}.json"
    (place / "manifests" / name).write_bytes(signed(document()))
    result = plasma("verify", kept, "--against", site)
    assert result.status == 0


def test_a_manifest_of_an_untrusted_key_in_the_site_does_not_count(
    plasma: Any, kept: Path, site: Path
) -> None:
    (site / "stable" / "amd64" / "manifest.json").write_bytes(signed(document(), UNTRUSTED_KEY))
    result = plasma("verify", kept, "--against", site)
    assert result.status == 1
    assert result.out.endswith("[signature.untrusted]\n")
    assert plasma("verify", kept, "--against", site, "--key", UNTRUSTED_KEY.keyid).status == 0
    assert plasma("verify", kept, "--against", site, "--key", PUBLISHER.keyid).status == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"booted": None, "mode": "none"}, "names no booted version"),
        ({"booted": booted(version=Version.parse("9"))}, "[receipt.wrong-manifest]"),
        ({"booted": booted(channel="lab")}, "has no manifest"),
        ({"booted": booted(manifest=Digest("0" * 64))}, "has no manifest sha256:000"),
    ],
    ids=["not booted", "another version", "another channel", "another manifest"],
)
def test_a_receipt_that_claims_another_boot_is_refused(
    changes: dict[str, Any], message: str, plasma: Any, site: Path, tmp_path: Path
) -> None:
    path = tmp_path / "lie.json"
    path.write_bytes(sign_receipt(NODE, receipt(**changes)))
    result = plasma("verify", path, "--against", site)
    assert result.status == 1
    assert message in result.out.splitlines()[-1]


def test_options_that_check_a_site_need_a_site(plasma: Any, kept: Path, site: Path) -> None:
    assert plasma("verify", kept, "--key", PUBLISHER.keyid).status == 2
    assert plasma("verify", kept, "--against", site, "--threshold", 1).status == 2
    shutil.rmtree(site / "root")
    assert plasma("verify", kept, "--against", site).status == 2
    assert plasma("verify", kept, "--node", "me").status != 0


def test_an_unreadable_receipt_is_reported(
    plasma: Any, kept: Path, site: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    assert plasma("verify", gone).err == f"{gone} cannot be read: No such file or directory.\n"
    result = plasma("verify", kept, "--against", gone, "--key", PUBLISHER.keyid)
    assert (result.status, result.err) == (1, f"{gone} is not a folder: name the root of a SITE.\n")
    result = plasma("verify", kept, "--module", gone)
    assert (result.status, result.err) == (
        1,
        f"{gone} cannot be read: No such file or directory.\n",
    )
    place = site / "stable" / "amd64" / "manifest.json"
    place.unlink()
    place.mkdir()
    result = plasma("verify", kept, "--against", site)
    assert (result.status, result.err) == (1, f"{place} cannot be read: Is a directory.\n")


# ---- ls -----------------------------------------------------------------------------------------
def test_a_listing_names_invalid_receipts(plasma: Any, tmp_path: Path) -> None:
    good = sign_receipt(NODE, receipt(started=datetime(2025, 11, 20, 7, tzinfo=UTC)))
    (tmp_path / "00000001-0123456789abcdef.json").write_bytes(good)
    (tmp_path / "00000002-0123456789abcdef.json").write_bytes(good[:-1])
    result = plasma("ls", tmp_path)
    assert result.status == 1
    first, second = result.out.splitlines()
    assert first.startswith("2025-11-20T07:00:00Z  hello            stable 2025.11.12 ")
    assert second.startswith("BAD 00000002-0123456789abcdef.json: The document is not a JSON")
    result = plasma("ls", tmp_path, "--json")
    kept, broken = map(json.loads, result.out.splitlines())
    assert result.status == 1
    assert (kept["fault"], kept["receipt"]["job"]["name"]) == (None, "hello")
    assert broken["receipt"] == {}
    assert broken["fault"].startswith("The document is not a JSON")


def test_a_missing_folder_is_reported(plasma: Any, tmp_path: Path) -> None:
    result = plasma("ls", tmp_path / "gone")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        f"{tmp_path}/gone cannot be read (No such file or directory): name the folder that "
        "receipts are kept in.\n"
    )
