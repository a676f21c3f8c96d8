# Boots with faults in every port, in virtual time: `make test` runs them all, with 300 seeds.
SEEDS ?= 5000

.PHONY: faults
faults: .venv/done ## every single fault in every state, then SEEDS=5000 boots with several
	@rm -f build/results/faults.xml
	$(RUN) pytest -q -n 2 --seeds $(SEEDS) --junitxml=build/results/faults.xml tests/faults || true
	@$(RUN) python -m tests.proofs record faults
