# How well phase_boot/trust is tested, and how long it takes.
COVERAGE := COVERAGE_FILE=build/coverage/trust $(RUN) coverage

.PHONY: coverage-trust
coverage-trust: .venv/done ## every branch of phase_boot/trust is taken by its unit tests, or this fails
	@mkdir -p build/coverage
	$(COVERAGE) run --branch --source=phase_boot.trust,phase_boot.content.arch,phase_boot.content.version \
		-m pytest -q tests/unit/trust tests/unit/content/test_version.py
	$(COVERAGE) report --show-missing --fail-under=100

# In a copy, so that nobody works on a mutant. Some ten minutes on two cores.
MUTANTS := build/mutants
.PHONY: mutants
mutants: .venv/done ## change phase_boot/trust in every small way; a change that no test notices fails
	rm -rf $(MUTANTS)/tree
	mkdir -p $(MUTANTS)/tree
	git ls-files -z phase_boot states policies loader image tests docs pyproject.toml uv.lock README.md \
		LICENSE | xargs -0 cp --parents -t $(MUTANTS)/tree
	cd $(MUTANTS)/tree && UV_PROJECT_ENVIRONMENT="$(CURDIR)/$(MUTANTS)/venv" \
		$(RUN) --group mutants python -m tests.mutants
