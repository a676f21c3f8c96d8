# The benchmarks. Each writes image/bench/results/NAME.json, which `make bench-report` prints.
RUNS ?= 3

.PHONY: bench-boot
bench-boot: target ## measure a boot beside a shell script, RUNS times
	@$(IMAGE) build --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" --measured \
		--out build/bench/phase-boot-$(ARCH).img
	$(RUN) python -m image.bench.boot --arch $(ARCH) --runs $(RUNS) --root "$(ROOT)"

.PHONY: bench-fetch
bench-fetch: setup ## measure downloads beside curl, aria2c and libtorrent, RUNS times
	@$(MAKE) --no-print-directory packages PACKAGES="$(PACKAGES) aria2"
	$(RUN) --group bench python -m image.bench.fetch --runs $(RUNS)

.PHONY: bench-wan
bench-wan: setup kubo ## measure finding and fetching beyond the LAN beside kubo and curl, RUNS times
	$(RUN) --group bench python -m image.bench.wan --runs $(RUNS)

.PHONY: bench-update
bench-update: setup ## bytes of an update beside zsync, rsync, casync and xdelta3
	@$(MAKE) --no-print-directory packages PACKAGES="$(PACKAGES) zsync rsync casync xdelta3"
	$(RUN) python -m image.bench.update

.PHONY: bench-trust
bench-trust: .venv/done ## cost of verification beside bare signature checks
	$(RUN) python -m image.bench.trust

# The command line of wasmtime, with which bench-plasma compares. The build takes about ten minutes and
# needs a Rust toolchain that wasmtime supports (CARGO="cargo +nightly" chooses another one). Without
# the command, bench-plasma leaves this comparison out.
CARGO ?= cargo
.PHONY: wasmtime-command
wasmtime-command: | .venv/done ## build wasmtime's command line into build/tools, for bench-plasma
	version=$$($(RUN) python -c "import importlib.metadata as m; print(m.version('wasmtime'))") && \
		CARGO_TARGET_DIR="$(CURDIR)/build/wasmtime-cli" $(CARGO) install --locked --root build/tools \
		wasmtime-cli@$$version --no-default-features --features run,compile,cache,parallel-compilation

# On a machine with other load, `chrt -f 10 make bench-plasma` gives steady results.
.PHONY: bench-plasma
bench-plasma: .venv/done ## cost of a job beside wasmtime's command and a C program
	$(RUN) python -m image.bench.plasma

.PHONY: bench-report
bench-report: setup ## print the results of all benchmarks, and plot them into build/bench
	$(RUN) --group bench python -m image.bench.report
