"""Coverage-guided fuzzing of whatever reads bytes from strangers: `make fuzz`.

One module per target. A case is only bytes; `one` raises for it if anything but the documented
refusals comes out, or if what was accepted breaks a promise. `make test` replays all cases that are
kept here; libFuzzer, through atheris, makes new ones.
"""
