"""What of a machine outlives its power: the stick, and the variables that its firmware keeps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from image.lab.disk_image import DiskImage


@dataclass(frozen=True, slots=True)
class VmDisks:
    """A stick and an EFI variable store in `folder`; one machine after another boots from them."""

    folder: Path

    @classmethod
    def fresh(cls, image: Path, variables: Path, folder: Path) -> Self:
        """Copy both into `folder`: `image` as it was built, `variables` as the firmware ships."""
        durable = cls(folder)
        DiskImage.copied(image, durable.disk)
        shutil.copyfile(variables, durable.variables)
        return durable

    @property
    def disk(self) -> Path:
        """The file that is the stick."""
        return self.folder / "stick.img"

    @property
    def variables(self) -> Path:
        """The file that is the EFI variable store."""
        return self.folder / "vars.fd"

    @property
    def stick(self) -> DiskImage:
        """The stick, to be looked into and edited."""
        return DiskImage(self.disk)
