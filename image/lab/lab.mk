# What boots virtual machines: the demo and the end-to-end tests.
.PHONY: demo
demo: setup $(ROOT) $(KEY) ## build, publish, serve and boot a stick in QEMU, and show the boot
	@$(RUN) python -m image.lab.demo --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" --key "$(KEY)"

.PHONY: e2e
e2e: setup ## boot sticks under UEFI firmware, also under attack, on both architectures
	$(RUN) pytest -m "e2e and not e2e_all" -n 2 --dist worksteal --durations=12 --junitxml=build/results/e2e.xml tests/e2e

.PHONY: e2e-images
e2e-images: setup ## build the sticks and targets that `make e2e` boots, and boot nothing
	$(RUN) python -m tests.support.boot_images

.PHONY: e2e-rerun
e2e-rerun: setup ## repeat the boots that failed in `make e2e`, one at a time
	$(RUN) python -m tests.rerun

.PHONY: e2e-all
e2e-all: setup ## run the boots that `make e2e` leaves out; TESTS="PATH …" selects
	@rm -f build/results/e2e-all.xml
	$(RUN) pytest -m e2e_all -n 2 --dist worksteal --durations=12 --junitxml=build/results/e2e-all.xml \
		$(or $(TESTS),tests/e2e) || true
	@$(RUN) python -m tests.proofs record e2e-all

.PHONY: soak
soak: setup ## cut the power at twenty moments of a boot, each followed by another boot
	@rm -f build/results/soak.xml
	$(RUN) pytest -m soak -n 2 --dist worksteal --junitxml=build/results/soak.xml tests/e2e || true
	@$(RUN) python -m tests.proofs record soak
