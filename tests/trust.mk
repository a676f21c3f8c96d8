# How well phase_boot/trust is tested, and how long it takes.
COVERAGE := COVERAGE_FILE=build/coverage/trust $(RUN) coverage

.PHONY: coverage-trust
coverage-trust: .venv/done ## every branch of phase_boot/trust is taken by its unit tests, or this fails
	@mkdir -p build/coverage
	$(COVERAGE) run --branch --source=phase_boot.trust -m pytest -q tests/unit/trust
	$(COVERAGE) report --show-missing --fail-under=100
