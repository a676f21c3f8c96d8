"""The booted disk, its EFI system partition, systemd-boot, and EFI variables."""
