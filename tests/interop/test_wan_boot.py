"""The chain beyond the LAN: a publisher's record on a web server leads a machine to its release.

Real programs of this project and nginx, in a private network namespace in which nothing is
announced by mDNS.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from image.lab.network import IPV4, Lab
from image.lab.nginx import RECORD_LOCATION, nginx_command
from tests.support.announcing_publisher import (
    FILES,
    PHASE_BOOT,
    Publisher,
    announcing_publisher,
    dry_run,
    of,
)
from tests.support.avahi_host import wait_until
from tests.support.required_programs import needed

pytestmark = pytest.mark.interop

WEB = f"http://{IPV4}"
PROVIDER = f"http://{IPV4}:8070"
NO_MACHINE = "http://10.77.0.250"
ROUTER_NAME, MIRROR_NAME = "router.example", "mirror.example"
MIRROR = f"http://{MIRROR_NAME}"
WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return announcing_publisher(tmp_path)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(dhcp=False) as made:
        yield made


def web_server(lab: Lab, site: Path) -> None:
    """Serve a SITE by nginx on port 80 of the lab's bridge."""
    needed("nginx", "nginx-light")
    folder = lab.folder / "web"
    folder.mkdir()
    server = f"server {{ listen {IPV4}:80; root {site}; {RECORD_LOCATION} }}"
    log = f"access_log {folder}/access.log;\n"
    with (folder / "output").open("wb") as out:
        lab.popen(nginx_command(folder, log + server), stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{WEB}/root/1.json"), folder / "output")


def answers(lab: Lab, url: str) -> bool:
    try:
        lab.http_get(url)
    except Exception:  # noqa: BLE001 - it is asked again
        return False
    return True


def with_names(lab: Lab) -> Callable[[Sequence[str]], list[str]]:
    """Return how a program is run for which each name has the address of the lab's web server.

    That address is the machine's own too, at which no place of a record is asked.
    """
    hosts = lab.folder / "hosts"
    hosts.write_text(f"{IPV4} {ROUTER_NAME} {MIRROR_NAME}\n")
    resolved = ("unshare", "--mount", "sh", "-c", WITH_HOSTS, str(hosts))
    return lambda words: lab.command([*resolved, *words])


def test_a_record_on_a_plain_web_server_leads_to_the_release_and_an_older_one_to_nothing(
    lab: Lab, publisher: Publisher
) -> None:
    web_server(lab, publisher.site)
    policy = publisher.policy("--router", WEB)
    file = publisher.record()
    publisher.announce("--mirror", MIRROR)
    older = file.read_bytes()
    publisher.announce("--mirror", MIRROR)

    status, events = dry_run(policy, with_names(lab))
    assert status == 0, events
    (found,) = of(events, "candidate.found")
    assert (found["finder"], found["url"]) == ("wan", f"{MIRROR}/stable/amd64/manifest.json")
    (accepted,) = of(events, "record.accepted")
    stored = publisher.folder / "store" / "cas" / "sha256"
    assert {path.read_bytes() for path in stored.iterdir()} == set(FILES.values())
    (kept,) = (publisher.folder / "store").rglob("*.ipns-record")
    assert kept.read_bytes() == file.read_bytes()
    assert accepted["name"] in file.name

    file.write_bytes(older)
    status, events = dry_run(policy, with_names(lab))
    assert status == 1
    assert of(events, "candidate.found") == []
    assert [event["finder"] for event in of(events, "reply.ignored")] == ["wan"]
    assert kept.read_bytes() != older


def test_a_machine_that_booted_by_a_record_answers_it_to_the_others_of_its_network(
    lab: Lab, publisher: Publisher
) -> None:
    web_server(lab, publisher.site)
    publisher.announce("--mirror", MIRROR)
    status, events = dry_run(publisher.policy("--router", WEB), with_names(lab))
    assert status == 0, events
    log = publisher.folder / "serve.log"
    with log.open("wb") as out:
        words = ["serve", "--store", str(publisher.store), "--no-announce"]
        lab.popen([PHASE_BOOT, *words], stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{PROVIDER}/health"), log)
    raw = publisher.record().read_bytes()
    name = publisher.record().name
    assert lab.http_get(f"{PROVIDER}/routing/v1/ipns/{name}") == raw
    assert lab.http_get(f"{PROVIDER}/ipns/{name}?format=ipns-record") == raw


def test_where_no_mirror_of_the_record_answers_the_manifest_is_had_by_its_cid(
    lab: Lab, publisher: Publisher
) -> None:
    publisher.announce("--mirror", NO_MACHINE)
    log = publisher.folder / "serve.log"
    words = ["serve", str(publisher.site), "--no-announce"]
    with log.open("wb") as out:
        lab.popen([PHASE_BOOT, *words], stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{PROVIDER}/health"), log)
    policy = publisher.policy("--router", PROVIDER, "--gateway", PROVIDER)
    status, events = dry_run(policy, lab.command)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{PROVIDER}/ipfs/baf")
    assert {event["source"] for event in of(events, "fetch.done")} == {PROVIDER}


def test_a_stick_whose_root_names_no_announcing_key_asks_no_router(
    lab: Lab, publisher: Publisher
) -> None:
    shutil.rmtree(publisher.site / "root")
    keys = ["--publisher", publisher.key("publisher"), "--key", publisher.key("root")]
    where = ["--channel", "stable", "--expires", "+300d"]
    publisher.run("root", "new", str(publisher.site / "root"), *keys, *where)
    web_server(lab, publisher.site)
    policy = publisher.policy("--router", WEB)
    status, events = dry_run(policy, lab.command)
    assert status == 1
    assert of(events, "reply.ignored") == of(events, "candidate.found") == []
    asked = (lab.folder / "web" / "access.log").read_text()
    assert "root/1.json" in asked
    assert "ipns" not in asked


@pytest.fixture
def stranger(tmp_path: Path) -> Publisher:
    """Return another publisher, with keys that the machine does not trust."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    return announcing_publisher(folder)


def test_names_that_lead_to_the_server_of_another_publisher_boot_nothing(
    lab: Lab, publisher: Publisher, stranger: Publisher
) -> None:
    stranger.announce("--mirror", MIRROR)
    forged = stranger.site / "routing" / "v1" / "ipns" / publisher.record().name
    forged.write_bytes(stranger.record().read_bytes())
    web_server(lab, stranger.site)
    url = f"{MIRROR}/stable/amd64/manifest.json"
    policy = publisher.policy("--router", f"http://{ROUTER_NAME}", "--url", url)
    status, events = dry_run(policy, with_names(lab))
    assert status == 1
    assert [event["url"] for event in of(events, "candidate.found")] == [url]
    assert [event["code"] for event in of(events, "candidate.refused")] == ["signature.untrusted"]
    assert ROUTER_NAME in of(events, "reply.ignored")[0]["reason"]
    assert not list(publisher.store.glob("cas/sha256/*"))


def test_a_name_that_leads_to_another_publisher_costs_no_boot_that_a_gateway_can_serve(
    lab: Lab, publisher: Publisher, stranger: Publisher
) -> None:
    publisher.announce("--mirror", MIRROR)
    web_server(lab, stranger.site)
    log = publisher.folder / "serve.log"
    with log.open("wb") as out:
        words = ["serve", str(publisher.site), "--no-announce"]
        lab.popen([PHASE_BOOT, *words], stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{PROVIDER}/health"), log)
    policy = publisher.policy("--router", PROVIDER, "--gateway", PROVIDER)
    status, events = dry_run(policy, with_names(lab))
    assert status == 0, events
    (refused,) = of(events, "candidate.refused")
    assert (refused["url"].partition("/stable")[0], refused["code"]) == (
        MIRROR,
        "signature.untrusted",
    )
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{PROVIDER}/ipfs/")
    assert publisher.stored() == set(FILES.values())
