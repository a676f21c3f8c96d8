"""T6 and rollback: what was signed once is not good for ever, and a stick remembers that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM, Provider, start_provider
from image.site_roots import updated_chain
from phase_boot.content.arch import Arch
from phase_boot.publish.dates import rfc3339
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.store.layout import manifest_path, root_path
from phase_boot.trust.rollback import read_state
from tests.support.boot_images import CHANNEL, Published, program
from tests.support.boots import (
    ARM64_LATER,
    BOOT_SECONDS,
    BOTH,
    GOING_WRONG,
    cache_of,
    moves,
    replayed,
    republished,
    stay,
    stored_in,
)

pytestmark = pytest.mark.e2e

HOUR = timedelta(hours=1)
ROOT_2 = root_path(2)


@BOTH
def test_an_expired_manifest_is_refused_by_name(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    site = republished(
        published, tmp_path / "site", issued=rfc3339(now - 3 * HOUR), expires=rfc3339(now - HOUR)
    )
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"expired-{arch}"
        ) as machine,
    ):
        provider = start_provider(lab, site)
        shell = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, "crashed"))
        stay(machine)

        assert refusals(machine, provider) == [{"manifest.expired"}]
        assert rfc3339(now - HOUR) in shell.text("cause")
        assert shell.text("way_out")
        assert machine.events_named("fetch.started") == []
        assert machine.events_named("kexec.loaded") == []
        assert moves(machine)[-1] == ("discover", "give_up", "shell")
        assert replayed(machine, tmp_path)[-1] == "shell"
        assert stored_in(cache_of(machine)) == set()

        # The same version, signed for longer: that is all it takes.
        place = manifest_path(CHANNEL, arch)
        (site / place).write_bytes((published.site / place).read_bytes())
        machine.type("r\r")
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended"))
        assert report.text("version") == str(published.manifest.version)
        assert ("shell", "retry", "init") in moves(machine)


@ARM64_LATER
def test_a_stick_that_saw_a_newer_version_and_root_goes_back_to_neither(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    newer = f"{published.manifest.version}.1"
    site = republished(published, tmp_path / "newer", key=published.heir, version=newer)
    revoke(published, site)
    rolled_back = republished(published, tmp_path / "rolled-back", key=published.heir)
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"newer-{arch}"
        ) as first,
    ):
        provider = start_provider(lab, site)
        report = first.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        assert report.text("version") == newer
        (recalled,) = first.events_named("trust.recalled")
        assert (recalled.number("root"), recalled.text("seen")) == (1, "")
        (followed,) = first.events_named("root.followed")
        assert followed.number("version") == 2
        (verified,) = first.events_named("manifest.verified")
        assert verified.fields["keys"] == [read_key(published.heir).keyid]
        first.stop()
        provider.stop()
        check_remembered(published, first, site, newer)

        # The same stick with the Cache as it is now, among attackers on the same LAN.
        with Machine(
            first.disks, hardware=published.hardware, lab=lab, name=f"rollback-{arch}"
        ) as second:
            revoked = start_provider(lab, published.site, port=8071)
            again = start_provider(lab, rolled_back, port=8072)
            shell = second.wait_for(
                "shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, "crashed")
            )
            stay(second)

            (recalled,) = second.events_named("trust.recalled")
            assert (recalled.number("root"), recalled.text("seen")) == (2, newer)
            assert second.events_named("state.doubted") == []
            assert second.events_named("root.followed") == []
            codes = refusals(second, revoked, again)
            assert codes == [{"signature.untrusted"}, {"manifest.rollback"}]
            assert shell.text("way_out")
            assert second.events_named("manifest.verified") == []
            assert second.events_named("kexec.loaded") == []
            assert replayed(second, tmp_path)[-1] == "shell"
            second.stop()
            check_remembered(published, second, site, newer)


def refusals(machine: Machine, *providers: Provider) -> list[set[str]]:
    """The codes by which each provider was refused; nobody else was."""
    refused = machine.events_named("candidate.refused")
    codes = [
        {event.text("code") for event in refused if event.text("url").startswith(provider.urls)}
        for provider in providers
    ]
    everybody = tuple(url for provider in providers for url in provider.urls)
    assert all(event.text("url").startswith(everybody) for event in refused)
    return codes


def revoke(published: Published, site: Path) -> None:
    """Let root 2 of `site` name the heir as publisher, and the publisher no more."""
    change = ("--remove-publisher", str(published.key), "--add-publisher", str(published.heir))
    by = ("--key", str(published.root_key))
    program(str(PROGRAM), "root", "rotate", str(site / "root"), *change, *by)


def check_remembered(published: Published, machine: Machine, site: Path, version: str) -> None:
    """The stick has root 2 as it was served, and `version` as seen under it, and nothing else."""
    cache = cache_of(machine)
    notes = cache.trust_files()
    assert set(notes) == {"root.2.json", "state.json"}
    assert notes["root.2.json"] == (site / ROOT_2).read_bytes()
    chain = updated_chain(site / root_path(1), site)
    assert chain.version == 2
    seen, doubts = read_state(notes["state.json"], chain)
    assert doubts == ()
    assert str(seen.floor(CHANNEL, published.arch)) == version
    assert f'"{chain.identity}"'.encode() in notes["state.json"]
    assert stored_in(cache) == {
        artifact.digest.hex for artifact in published.manifest.artifacts.values()
    }
