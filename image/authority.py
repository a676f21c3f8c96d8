"""Who may publish: the roots that a SITE hands out, and what a machine makes of them."""

from __future__ import annotations

from pathlib import Path

from phase_boot.publish.durable import PUBLIC, held, replace
from phase_boot.publish.errors import PublishError
from phase_boot.publish.roots import anchored, root_file, walk
from phase_boot.store.layout import ROOTS, read_root_path, root_path
from phase_boot.trust.chain import Chain


def hand_out_roots(first: Path, site: Path) -> None:
    """Make the roots of ``site`` the file ``first`` and those that follow from it in its folder.

    Drafts stay where they are. A root of the SITE that the folder has not belongs to another
    chain, and goes.

    Raises:
        PublishError: A root does not follow, or the disk refuses.
    """
    wanted = {anchored(first).version: first}
    for link in walk(first.parent, first):
        if link.fault is not None:
            raise PublishError(f"{link.path} is not followed: {link.fault}")
        wanted[int(link.path.stem)] = link.path
    folder = site / ROOTS
    if folder.exists() and folder.samefile(first.parent):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        for version, path in wanted.items():
            replace(root_file(folder, version), path.read_bytes(), PUBLIC)
        for path in folder.iterdir():
            other = read_root_path(f"{ROOTS}/{path.name}")
            if other is not None and other not in wanted:
                path.unlink()


def chain_of(first: Path, site: Path) -> Chain:
    """Return whom a machine that starts from the file ``first`` trusts after meeting ``site``.

    Raises:
        PublishError: ``first`` is no root.
        Refusal: A root of the SITE does not follow, which such a machine would say too.
    """
    chain = Chain(anchored(first))
    while chain.next_version is not None:
        path = site / root_path(chain.next_version)
        if not path.exists():
            break
        chain = chain.extended(path.read_bytes())
    return chain
