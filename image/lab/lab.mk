# What needs virtual machines: the demo, the end-to-end tests, the boot benchmark.
RUNS ?= 3

.PHONY: demo
demo: setup $(ROOT) $(KEY) ## build, publish, serve and boot a stick in QEMU; see it happen
	@$(RUN) python -m image.lab.demo --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" --key "$(KEY)"

.PHONY: e2e
e2e: setup ## boot sticks under UEFI firmware, well-meant and attacked, both architectures
	$(RUN) pytest -m "e2e and not e2e_all" -n 2 --dist worksteal --durations=12 --junitxml=build/results/e2e.xml tests/e2e

.PHONY: e2e-rerun
e2e-rerun: setup ## run the boots that failed in `make e2e` once more, each alone
	$(RUN) python -m tests.rerun

.PHONY: e2e-all
e2e-all: setup ## boot what `make e2e` has no time for; TESTS="PATH …" chooses
	@rm -f build/results/e2e-all.xml
	$(RUN) pytest -m e2e_all -n 2 --dist worksteal --durations=12 --junitxml=build/results/e2e-all.xml \
		$(or $(TESTS),tests/e2e) || true
	@$(RUN) python -m tests.proofs record e2e-all

.PHONY: soak
soak: setup ## cut the power at twenty moments of a boot, each followed by another boot
	@rm -f build/results/soak.xml
	$(RUN) pytest -m soak -n 2 --dist worksteal --junitxml=build/results/soak.xml tests/e2e || true
	@$(RUN) python -m tests.proofs record soak

.PHONY: bench-boot
bench-boot: target ## measure a boot and its reference, RUNS times; writes image/bench/results/boot.json
	@$(IMAGE) build --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" --measured \
		--out build/bench/phase-boot-$(ARCH).img
	$(RUN) python -m image.bench.boot --arch $(ARCH) --runs $(RUNS) --root "$(ROOT)"

.PHONY: bench-fetch
bench-fetch: setup ## measure fetching beside curl, aria2c and libtorrent; writes image/bench/results/fetch.json
	@$(MAKE) --no-print-directory packages PACKAGES="$(PACKAGES) aria2"
	$(RUN) --group bench python -m image.bench.fetch --runs $(RUNS)

.PHONY: bench-update
bench-update: setup ## bytes of an update beside zsync, rsync, casync, xdelta3; writes image/bench/results/update.json
	@$(MAKE) --no-print-directory packages PACKAGES="$(PACKAGES) zsync rsync casync xdelta3"
	$(RUN) python -m image.bench.update

# boxo is the library that kubo is made of; building it takes ten minutes once.
.PHONY: interop-ipfs
interop-ipfs: setup ## let boxo read our DAGs and serve them to us; needs Go 1.26
	@command -v go >/dev/null || { echo "go is missing: install Go 1.26 or newer" >&2; exit 1; }
	@mkdir -p build/tools
	cd tests/interop/ipfs && CGO_ENABLED=0 go build -o "$(CURDIR)/build/tools/boxo-peer" .
	$(RUN) pytest tests/interop/test_ipfs.py

.PHONY: bench-report
bench-report: setup ## print and plot every image/bench/results/*.json
	$(RUN) --group bench python -m image.bench.report
