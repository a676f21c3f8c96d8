# Phase Boot: every command a person or CI runs. `make help` lists them.
SHELL := /bin/bash
ifeq ($(wildcard image/image.mk),)
$(error this is not the checkout: run `make -C` with its folder)
endif
ARCH ?= amd64
PYTHON ?= python3
# uv comes from the package index like every other Python program; a copy that is there is used.
# The path of the checkout may hold blanks, so each use of these is quoted; make's own functions for
# file names would split them.
TOOLS := $(CURDIR)/build/tools
UV := $(shell command -v uv || echo "$(TOOLS)/bin/uv")
export PATH := $(shell dirname "$(UV)"):$(PATH)
RUN := "$(UV)" run --frozen --no-progress
# With it each of some hundred programs that the tests start would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

PACKAGES_RUN := python3 python3-venv qemu-system-x86 qemu-system-arm ovmf qemu-efi-aarch64 \
	dnsmasq-base iproute2 util-linux
PACKAGES_BUILD := mmdebstrap debian-archive-keyring uidmap tar kmod zstd squashfs-tools dosfstools \
	mtools e2fsprogs fdisk llvm
PACKAGES_TEST := busybox-static systemd avahi-daemon avahi-utils dbus curl openssl jq xxd cpio nginx-light caddy \
	lighttpd bzip2 lz4 lzop xz-utils
PACKAGES_MODEL := spin gcc libc6-dev
PACKAGES := $(PACKAGES_RUN) $(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_MODEL)

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# ---- what a fresh machine needs ----------------------------------------------------------------
.PHONY: setup
setup: packages .venv/done ## install the apt packages and the locked Python environment

.PHONY: packages
packages:
	@missing=$$(for p in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q '^install ok installed' || echo $$p; done); \
	[ -z "$$missing" ] && exit 0; \
	mkdir -p build; echo "Installing by apt:" $$missing; \
	if [ "$$(id -u)" = 0 ]; then sudo=; \
	elif command -v sudo >/dev/null; then sudo=sudo; \
	else echo "Install these as root, then run make again: apt-get install" $$missing >&2; exit 1; fi; \
	$$sudo env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends $$(echo $$missing)" >build/packages.log 2>&1 \
		|| { tail -n 20 build/packages.log; exit 1; }

.venv/done: pyproject.toml uv.lock | packages
	@[ -x "$(UV)" ] || { echo "Installing uv into build/tools"; \
		$(PYTHON) -m venv "$(TOOLS)" && "$(TOOLS)/bin/pip" install -q uv; }
	@echo "Installing the locked Python environment into .venv"
	@"$(UV)" sync --frozen --quiet --compile-bytecode
	@touch $@

# ---- checks and tests --------------------------------------------------------------------------
.PHONY: check
check: .venv/done ## ruff, mypy --strict, import-linter
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

# Where all tests must run, the IPFS programs that some compare with are built; elsewhere these skip without them.
.PHONY: test
test: setup $(if $(filter true,$(CI)),kubo js) ## every test that boots nothing: unit, attacks, interop
	$(RUN) pytest -m "not e2e and not e2e_all and not soak" -n 3 --dist loadfile --no-loadscope-reorder \
		--junitxml=build/results/test.xml tests

.PHONY: wording
wording: .venv/done ## write the sentences that people read to tests/wording.txt, after a change of wording
	$(RUN) python -m tests.wording

.PHONY: man
man: .venv/done ## write the manual page, build/man/phase-boot.1, from the parser
	@mkdir -p build/man
	@$(RUN) argparse-manpage --module phase_boot.cli.main --function parser --prog phase-boot \
		--project-name phase-boot --manual-title "Phase Boot" --output build/man/phase-boot.1
	@echo "Read it with: man -l build/man/phase-boot.1"

.PHONY: acceptance
acceptance: .venv/done ## what the last `make test` and `make e2e` proved, row by row
	$(RUN) python -m tests.acceptance

# ---- images ------------------------------------------------------------------------------------
-include image/image.mk
-include image/lab/lab.mk
-include image/bench/bench.mk
-include tests/interop/interop.mk
-include tests/fuzz/fuzz.mk
-include tests/trust.mk
-include tests/faults/faults.mk
-include tests/model/model.mk

.PHONY: clean
clean: ## remove what was built, and nothing else
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
