"""The process that speaks libp2p: its rights, its requests and its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.libp2p_node.program import MAX_LINE
from tests.support.libp2p_process import SECONDS, libp2p_process


def test_an_operation_that_does_not_exist_ends_with_its_reason() -> None:
    with libp2p_process() as node:
        assert node.ask(op="fly") == [{"end": {"error": "there is no operation fly"}}]
        assert node.ask(op="swim") == [{"end": {"error": "there is no operation swim"}}]


def test_the_process_ends_with_its_input() -> None:
    with libp2p_process() as node:
        node.ask(op="fly")
        node.input.close()
        assert node.process.wait(SECONDS) == 0
        assert node.output.read() == b""


def test_a_request_without_an_end_ends_the_process() -> None:
    with libp2p_process() as node:
        node.input.write(bytes([ord("x")]) * (2 * MAX_LINE + 1))
        node.input.flush()
        assert node.process.wait(SECONDS) == 1


def test_a_request_that_does_not_run_can_be_cancelled() -> None:
    with libp2p_process() as node:
        node.send(id=1, op="cancel")
        assert node.ask(op="fly")[-1]["end"]


def test_the_process_has_no_rights_and_writes_no_file() -> None:
    with libp2p_process() as node:
        node.ask(op="fly")
        proc = Path("/proc", str(node.process.pid))
        lines = (proc / "status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        limits = (proc / "limits").read_text()
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert int(status["NoNewPrivs"]) == 1
    assert "Max file size             0                    0" in limits


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_that_cannot_be_taken_ends_the_process() -> None:
    with libp2p_process("-5") as node:
        assert node.process.wait(SECONDS) == 1
        assert node.output.read() == b""
