"""`phase-boot announce`: its options, its lines, its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.announce import actions
from phase_boot.announce.servers import Limits
from phase_boot.announce.site_record import announce_site
from phase_boot.cli.main import main
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.passphrase_box import Cost
from tests.support.announced_site import (
    STABLE,
    add_manifest,
    files,
    make_announced_site,
    stored,
    terms,
    write_key,
)
from tests.support.block_servers import block_server
from tests.support.ipns_records import ANNOUNCING_KEY, NAME, OTHER_KEY, PROVIDER
from tests.support.record_servers import RecordServer, record_server

Run = Callable[..., tuple[int, str, str]]
SIGN = ("--key", "@/announcer.key")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_announced_site(tmp_path)


@pytest.fixture
def run(site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `phase-boot announce` on the SITE; `@` is the folder around it."""
    monkeypatch.setattr(actions, "LIMITS", Limits(seconds=5, kubo_seconds=5, pause_seconds=0.01))

    def run_command(*words: str) -> tuple[int, str, str]:
        given = [word.replace("@", str(site.parent)) for word in words]
        status = main(["announce", str(site), *given])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run_command


@pytest.fixture
def server() -> Iterator[RecordServer]:
    with record_server() as running:
        yield running


def test_without_a_server_the_site_alone_gets_the_record(run: Run, site: Path) -> None:
    status, out, err = run(*SIGN)
    assert (status, err) == (0, "")
    name, line = out.splitlines()
    assert name == str(NAME)
    assert line.startswith(f"ok  site {site}: has our record, sequence {stored(site).sequence}, ")


def test_each_server_gets_it_and_has_a_line(run: Run, site: Path, server: RecordServer) -> None:
    with block_server() as node:
        status, out, _ = run(*SIGN, "--router", server.url, "--kubo", node.url, "--import")
        assert status == 0
        assert [line.split(":")[0] for line in out.splitlines()[2:]] == [
            "ok  router http",
            "ok  kubo http",
            "ok  blocks http",
        ]
        assert server.records == node.records == {str(NAME): stored(site).raw}


def test_a_node_has_the_blocks_before_a_record_leads_there(run: Run, site: Path) -> None:
    with block_server() as node:
        status, out, err = run(*SIGN, "--kubo", node.url, "--import", "--json")
        assert (status, err) == (0, "")
        assert json.loads(out.splitlines()[-1]) == {
            "kind": "blocks",
            "place": node.url,
            "good": True,
            "roots": 1,
            "held": 1,
            "imported": 1,
            "provided": 1,
            "found": None,
            "fault": None,
            "cid": None,
            "reason": "",
        }
        cid = stored(site).announcement.places[STABLE].manifest_cid
        assert node.provided == [cid]
        kinds = [line.split("?")[0].rpartition("/")[2] for line in node.asked]
        assert kinds.index("put") == 0
        assert node.commands[-1] == "routing/provide"


def test_a_node_without_the_blocks_is_the_status_and_gets_the_record(run: Run, site: Path) -> None:
    with block_server() as node:
        status, out, err = run(*SIGN, "--kubo", node.url)
        assert (status, node.blocks) == (1, {})
        assert out.splitlines()[-1].startswith(f"BAD blocks {node.url}: holds 0 of 1 roots")
        assert err == "1 of 1 IPFS nodes do not provide all of the SITE.\n"
        assert node.records == {str(NAME): stored(site).raw}
        assert run(*SIGN, "--kubo", node.url, "--import")[0] == 0
        node.commands.clear()
        status, out, _ = run("--check", "--kubo", node.url)
        assert (status, out.splitlines()[-1][:3]) == (0, "ok ")
        assert set(node.commands) == {"block/stat", "routing/findprovs"}
        node.provided.clear()
        status, _, err = run("--check", "--kubo", node.url)
        assert (status, err) == (1, "1 of 1 IPFS nodes find no provider of all of the SITE.\n")


def test_one_server_that_fails_is_the_status_and_the_others_get_it(
    run: Run, site: Path, server: RecordServer
) -> None:
    with record_server() as other:
        other.keeps = False
        status, out, err = run(*SIGN, "--router", other.url, "--router", server.url)
    assert status == 1
    assert [line[:3] for line in out.splitlines()[1:]] == ["ok ", "BAD", "ok "]
    assert err == "1 of 3 places do not have the record of the SITE.\n"
    assert server.records == {str(NAME): stored(site).raw}


def test_the_options_are_in_the_record(run: Run, site: Path) -> None:
    base = "https://mirror.example/os"
    status, _, _ = run(*SIGN, "--mirror", base, "--provider", PROVIDER, "--validity", "6")
    record = stored(site)
    assert status == 0
    assert record.announcement.places[STABLE].mirrors == (f"{base}/stable/amd64/manifest.json",)
    assert record.announcement.places[STABLE].providers == (PROVIDER,)
    left = record.validity - datetime.now(UTC)
    assert timedelta(hours=5.9) < left <= timedelta(hours=6)


def test_a_manifest_that_is_left_out_is_named(run: Run, site: Path) -> None:
    add_manifest(site, "beta", expires="2025-11-13T00:00:00Z")
    status, _, err = run(*SIGN)
    assert (status, err.count("\n")) == (0, 1)
    assert err.startswith("beta/amd64/manifest.json is not announced: ")


def test_another_key_is_refused_with_the_way_out(run: Run, site: Path) -> None:
    write_key(site.parent / "other.key", OTHER_KEY)
    status, out, err = run("--key", "@/other.key")
    assert (status, out) == (1, "")
    assert f"{OTHER_KEY.keyid} as an announcing key" in err
    assert "`phase-boot root rotate --add-announcer`" in err
    assert files(site) == []


def test_a_protected_key_is_opened_by_a_file(run: Run, site: Path) -> None:
    cheap = Cost(1, 8192)
    key = site.parent / "announcer.key"
    key.write_bytes(encode_key(ANNOUNCING_KEY, b"word", cheap))
    (site.parent / "word").write_text("word\n")
    (site.parent / "word").chmod(0o600)
    assert run(*SIGN, "--passphrase-file", "@/word")[0] == 0
    assert stored(site).name == NAME


@pytest.mark.parametrize(
    "words",
    [
        (*SIGN, "--gateway", "https://gateway.example"),
        (*SIGN, "--router", "ftp://router.example"),
        (*SIGN, "--router", "https://router.example/?x=1"),
        (*SIGN, "--mirror", "https://mirror.example/?x=1"),
        (*SIGN, "--mirror", "http://127.0.0.1:8070"),
        (*SIGN, "--mirror", "http://[fe80::1%25eth0]/"),
        (*SIGN, *(word for n in range(9) for word in ("--mirror", f"https://m{n}.example"))),
        ("--check", "--provider", PROVIDER),
        (*SIGN, "--import"),
        ("--check", "--import", "--kubo", "http://127.0.0.1:1"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_signed(
    run: Run, site: Path, words: tuple[str, ...]
) -> None:
    status, out, err = run(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert files(site) == []


@pytest.mark.parametrize("hours", ["0", "-1", "2161", "48h", "1e3", "9" * 30])
def test_a_validity_out_of_bounds_is_a_usage_error(run: Run, site: Path, hours: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*SIGN, "--validity", hours)
    assert ended.value.code == 2
    assert files(site) == []


def test_a_folder_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    write_key(tmp_path / "announcer.key", ANNOUNCING_KEY)
    words = ["announce", str(tmp_path / "gone"), "--key", str(tmp_path / "announcer.key")]
    assert main(words) == 1
    assert not (tmp_path / "gone").exists()


def test_a_check_says_what_each_server_has(run: Run, site: Path, server: RecordServer) -> None:
    run(*SIGN)
    with record_server() as empty:
        server.records[str(NAME)] = stored(site).raw
        places = ("--router", server.url, "--gateway", server.url, "--mirror", empty.url)
        status, out, _ = run("--check", *places, "--json")
        assert (empty.records, empty.asked) == ({}, [f"GET /routing/v1/ipns/{NAME}"])
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [(line["kind"], line["state"]) for line in lines] == [
        ("site", "ours"),
        ("router", "ours"),
        ("gateway", "ours"),
        ("mirror", "absent"),
    ]
    assert all(line["name"] == str(NAME) for line in lines)


def test_a_check_reports_an_expired_record_of_the_site(run: Run, site: Path) -> None:
    announce_site(site, ANNOUNCING_KEY, terms(datetime.now(UTC) - timedelta(hours=50)))
    status, out, _ = run("--check", "--json")
    assert (status, json.loads(out)["state"]) == (1, "expired")


def test_a_check_without_a_record_in_the_site_names_the_way_out(run: Run) -> None:
    status, out, err = run("--check")
    assert (status, out) == (1, "")
    assert "run `phase-boot announce` with --key first" in err
