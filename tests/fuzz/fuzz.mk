# Coverage-guided fuzzing; atheris is installed for it, and only for it.
SECONDS ?= 60

.PHONY: fuzz
fuzz: .venv/done ## fuzz every reader of foreign bytes, SECONDS each; a case that breaks one is kept
	@rm -f build/results/fuzz.xml
	@$(RUN) --group fuzz python -m tests.fuzz --seconds $(SECONDS) || true
	@$(RUN) python -m tests.proofs record fuzz

.PHONY: properties
properties: .venv/done ## try each property with 20 times the examples of make test
	$(RUN) pytest -q -m hypothesis --hypothesis-profile thorough -n 2 tests
