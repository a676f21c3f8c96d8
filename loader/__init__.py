"""The boot loader of the stick: the files that systemd-boot reads."""
