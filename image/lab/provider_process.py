"""A publisher's SITE: what its signed manifest promises, and a provider that serves it in a lab."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.network import IPV4, IPV6, Lab, LabError
from image.site_roots import verified_manifest
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.verify import BootRequirements

PROGRAM: Final = Path(sys.executable).with_name("phase-boot")
"""The command as this environment has it installed."""
PORT: Final = 8070
PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that answers at each of `urls`; `log` holds what it said, one event a line."""

    urls: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it as a person would."""
        self.process.terminate()
        self.process.wait()


def expected_manifest(site: Path, arch: Arch, channel: str, root: Path) -> Manifest:
    """What `site` has for `arch`, as a machine that starts from the file `root` believes it.

    Raises Refusal when such a machine would not accept it, PublishError when `root` is no root,
    and OSError when there is no manifest.
    """
    requirements = BootRequirements(arch, channel, Version.parse("0"))
    return verified_manifest(root, site, requirements)


def start_provider(
    lab: Lab, site: Path, *, port: int = PORT, interface: str | None = None
) -> Provider:
    """Serve and announce `site` in `lab`, and return when it answers.

    With `interface` it is announced there only. Raises LabError with the provider's own words when
    it does not answer.
    """
    log = lab.folder / f"provider-{port}.jsonl"
    with log.open("wb") as out:
        argv = [str(PROGRAM), "serve", str(site.absolute()), "--port", str(port)]
        argv += ["--interface", interface] if interface else []
        process = lab.popen(argv, stdout=out, stderr=out)
    urls = (*((f"http://{IPV4}:{port}",) if lab.ipv4 else ()), f"http://[{IPV6}]:{port}")
    give_up = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < give_up:
        with suppress(LabError):
            lab.fetch(f"{urls[0]}/health", timeout=2)
            return Provider(urls, log, process)
    said = log.read_text(errors="replace").strip()
    raise LabError(f"The provider of {site} does not answer at {urls[0]}: {said or 'no word'}")
