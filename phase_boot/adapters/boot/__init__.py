"""The booted disk, the loader's partition on it, systemd-boot, and EFI variables."""
