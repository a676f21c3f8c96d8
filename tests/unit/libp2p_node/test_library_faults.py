"""Faults and defaults of libp2p 0.8.1 for which our code has a way around.

A test that fails after an update says that a way around may have become needless, or harmful:
docs/adr/0018-libp2p.md has the list.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from phase_boot.libp2p_node.lookup import RPC_SECONDS

ROOT: Final = Path(__file__).parents[3]
SECONDS: Final = 120


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.support.libp2p_library"]
    done = subprocess.run(words, check=True, capture_output=True, cwd=ROOT, timeout=SECONDS)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_library_is_the_one_whose_faults_are_known() -> None:
    assert version("libp2p") == "0.8.1"


def test_a_dial_that_has_succeeded_waits_for_another_address(facts: dict[str, Any]) -> None:
    assert facts["waits in vain"]
    assert not facts["waits with one connection"]


def test_peers_without_encryption_are_accepted_by_default(facts: dict[str, Any]) -> None:
    assert "/plaintext/2.0.0" in facts["security"]


def test_keys_of_the_dht_are_text_so_that_no_ipns_key_is_one(facts: dict[str, Any]) -> None:
    assert facts["key type"] == "str"


def test_the_dht_answers_from_its_own_store_without_asking(facts: dict[str, Any]) -> None:
    assert facts["stale"] == "stale"


def test_its_dht_has_no_answer_for_a_key_of_more_than_50_bytes(facts: dict[str, Any]) -> None:
    assert facts["answers 50 bytes"]
    assert not facts["answers 51 bytes"]


def test_its_dht_waits_longer_for_a_frozen_peer_than_ours(facts: dict[str, Any]) -> None:
    assert facts["seconds for a frozen peer"] > RPC_SECONDS


def test_a_cancelled_write_uses_up_the_number_of_a_packet(facts: dict[str, Any]) -> None:
    assert facts["numbers unsent packets"]


def test_a_host_wants_connections_by_default(facts: dict[str, Any]) -> None:
    assert facts["wanted connections"] > 0


def test_a_package_that_libp2p_needs_has_no_wheel() -> None:
    lock = (ROOT / "uv.lock").read_text()
    (varint,) = (part for part in lock.split("[[package]]") if '\nname = "varint"' in part)
    assert "wheels" not in varint
