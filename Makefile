# Phase Boot: every command a person or CI runs. `make help` lists them.
SHELL := /bin/bash
ARCH ?= amd64
export PATH := $(HOME)/.local/bin:$(PATH)
RUN := uv run --frozen --no-progress

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: check
check: .venv ## ruff, mypy --strict, import-linter
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
