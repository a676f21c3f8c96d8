"""Network interfaces: what the kernel and systemd-networkd report, and how a link is set up."""
