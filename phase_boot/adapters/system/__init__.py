"""Linux and systemd: facts of the machine, the clock, the service manager, the journal's sinks."""
