"""Linux and systemd: machine facts, clock, service manager, and outputs of the journal."""
