#!/bin/sh
# The last resort: the daemon itself has failed, and a person must look.
export PATH=/usr/bin:/usr/sbin HOME=/root TERM=linux
printf '\nPhase Boot stopped unexpectedly. "journalctl -u phase-boot" says why; "reboot -f" tries again.\n'
cd /run || exit
exec sh
