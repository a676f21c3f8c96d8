"""Facts of this machine's boot: the hand-over document, checked for consistency.

Receipts state which version was booted, so a document that contradicts itself, its signatures or
the running rootfs is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.handoff.document import BadHandoff, Handoff, read
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import Booted
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import authenticate
from phase_boot.url import base_url, bases, is_url
from policies.model import Mode


class InvalidHandoff(Exception):
    """The hand-over document is invalid; ``str`` is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    """The verified facts of the boot.

    Attributes:
        digest: the digest of the bytes that the manifest's signatures cover.
        signers: the key ids whose signatures verified the manifest.
        proxy: the URL of the HTTP proxy, empty for none.
        providers: base URLs of the providers, the manifest's first; empty in Private mode.
    """

    mode: Mode
    manifest: Manifest
    digest: Digest
    signers: tuple[str, ...]
    proxy: str
    providers: tuple[str, ...]

    @classmethod
    def of(cls, raw: bytes, rootfs: Digest) -> Self:
        """Read the hand-over document of a system that runs from ``rootfs``.

        The seed verified the manifest by a root of trust that this system does not have. Here all
        named signers must have signed it, and version and rootfs must agree with it.

        Raises:
            InvalidHandoff: one of them does not.
        """
        try:
            handoff = read(raw)
            trust = Trust(frozenset(handoff.signers), len(set(handoff.signers)))
            found = authenticate(handoff.manifest.encode(), trust)
            mode = Mode(handoff.mode)
        except BadHandoff as error:
            raise InvalidHandoff(str(error)) from error
        except (Refusal, ValueError) as error:
            raise _torn(f"its manifest is not the verified one ({error})") from error
        manifest = found.manifest
        if manifest.version != handoff.version:
            raise _torn(f"it names version {handoff.version}, and the manifest {manifest.version}")
        if manifest.artifacts["rootfs"].digest != rootfs:
            raise _torn(f"its manifest names another rootfs than the running one, {rootfs}")
        return cls(
            mode=mode,
            manifest=manifest,
            digest=Digest.of(signed_bytes(found.document)),
            signers=found.signers,
            proxy=handoff.network.proxy if handoff.network else "",
            providers=tuple(dict.fromkeys(_providers(handoff))),
        )

    @property
    def private(self) -> bool:
        """Whether no server may be contacted."""
        return self.mode is Mode.PRIVATE

    @property
    def sources(self) -> tuple[str, ...]:
        """Base URLs of the mirrors that may have a module: the providers and the signed mirrors."""
        if self.private:
            return ()
        return tuple(dict.fromkeys((*self.providers, *map(base_url, self.manifest.mirrors))))

    def booted(self, pcrs: Mapping[int, str]) -> Booted:
        """Return the facts of this boot that a receipt states, with the TPM's ``pcrs``."""
        return Booted(
            version=self.manifest.version,
            channel=self.manifest.channel,
            manifest=self.digest,
            pcrs=pcrs,
        )

    @property
    def arch(self) -> Arch:
        """The architecture of the manifest."""
        return self.manifest.arch


def _torn(reason: str) -> InvalidHandoff:
    return InvalidHandoff(
        f"The hand-over document is inconsistent ({reason}): boot this machine from its stick."
    )


def _providers(handoff: Handoff) -> Iterator[str]:
    """Yield the provider of the booted manifest, then those of its artifacts."""
    if handoff.mode == Mode.PRIVATE:
        return
    if handoff.manifest_source is not None and handoff.manifest_source.provider:
        yield from bases(handoff.manifest_source.provider)
    yield from (source for source in handoff.sources.values() if is_url(source))
