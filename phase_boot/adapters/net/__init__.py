"""Network interfaces: kernel notifications, addresses, and configuration by systemd-networkd."""
