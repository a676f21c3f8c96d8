"""The disks of a virtual machine: the stick, and the flash that holds the EFI variables.

They remain when the machine is off, so that the next machine boots from them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from image.lab.disk_image import DiskImage


@dataclass(frozen=True, slots=True)
class VmDisks:
    """A stick and an EFI variable store in `folder`."""

    folder: Path

    @classmethod
    def create(cls, image: Path, variables: Path, folder: Path) -> Self:
        """Copy a built `image` and the firmware's initial `variables` into `folder`."""
        disks = cls(folder)
        DiskImage.copy_of(image, disks.disk)
        shutil.copyfile(variables, disks.variables)
        return disks

    @property
    def disk(self) -> Path:
        """The stick's file."""
        return self.folder / "stick.img"

    @property
    def variables(self) -> Path:
        """The EFI variable store's file."""
        return self.folder / "vars.fd"

    @property
    def stick(self) -> DiskImage:
        """The stick, to be read and edited."""
        return DiskImage(self.disk)
