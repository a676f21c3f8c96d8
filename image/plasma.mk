# What the booted OS runs first.
.PHONY: hello
hello: .venv/done ## assemble the first job, build/hello.wasm, whose sha256 is pinned
	@$(RUN) python -m image.hello

# wasmtime's own command line, the bench's peer: some ten minutes, and a toolchain that is new enough
# for it (CARGO="cargo +nightly" where the stable one is not). Without it that peer is left out.
CARGO ?= cargo
.PHONY: wasmtime-command
wasmtime-command: | .venv/done ## build wasmtime's command line into build/tools, for bench-plasma
	version=$$($(RUN) python -c "import importlib.metadata as m; print(m.version('wasmtime'))") && \
		CARGO_TARGET_DIR="$(CURDIR)/build/wasmtime-cli" $(CARGO) install --locked --root build/tools \
		wasmtime-cli@$$version --no-default-features --features run,compile,cache,parallel-compilation

# Where others work on the same machine: chrt -f 10 make bench-plasma, as image/bench/results/plasma.json was made.
.PHONY: bench-plasma
bench-plasma: .venv/done ## what a job costs beside wasmtime's command and C; writes image/bench/results/plasma.json
	$(RUN) python -m image.bench.plasma
