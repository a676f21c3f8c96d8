"""A provider that serves a SITE in a lab, and the manifest that a machine must accept from it."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.namespace import LabError, stop
from image.lab.network import IPV4, IPV6, Lab
from image.site_roots import verified_manifest
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.verify import BootRequirements

PROGRAM: Final = Path(sys.executable).with_name("phase-boot")
"""The command that is installed in this Python environment."""
PORT: Final = 8070
START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider; `log` is its output, one JSON event per line."""

    urls: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Send SIGTERM and wait until the provider has exited."""
        stop(self.process)


def expected_manifest(site: Path, arch: Arch, channel: str, root: Path) -> Manifest:
    """Return the manifest of `site` for `arch`, verified as a machine that starts from `root` does.

    Raises:
        Refusal: such a machine would refuse the manifest.
        PublishError: the file `root` is no root.
        OSError: there is no manifest.
    """
    requirements = BootRequirements(arch, channel, Version.parse("0"))
    return verified_manifest(root, site, requirements)


def start_provider(
    lab: Lab, site: Path, *, port: int = PORT, interface: str | None = None
) -> Provider:
    """Start `phase-boot serve` for `site` in `lab`, and return when it answers.

    With `interface` the provider announces itself on that interface only.

    Raises:
        LabError: the provider does not answer; the message holds its output.
    """
    log = lab.folder / f"provider-{port}.jsonl"
    with log.open("wb") as out:
        argv = [str(PROGRAM), "serve", str(site.absolute()), "--port", str(port)]
        argv += ["--interface", interface] if interface else []
        process = lab.popen(argv, stdout=out, stderr=out)
    urls = (*((f"http://{IPV4}:{port}",) if lab.ipv4 else ()), f"http://[{IPV6}]:{port}")
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(LabError):
            lab.http_get(f"{urls[0]}/health", timeout=2)
            return Provider(urls, log, process)
    output = log.read_text(errors="replace").strip()
    raise LabError(
        f"The provider of {site} does not answer at {urls[0]}: {output or 'it printed nothing'}"
    )
