# Every target sets up .venv first when it is missing or when pyproject.toml, constraints.txt or
# the set-up script changed. Needs make and Python 3.12 or newer; uses uv where it is installed.

VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := start_speed batch_speed demo_speed fit_speed
SETUP := pyproject.toml constraints.txt scripts/setup_venv.sh

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench gallery lint notebooks clean

help:
	@echo "make demo        fit the tutorial's history and print the routing prompt"
	@echo "make test        formatting, lint, types, layers and the fast tests"
	@echo "make test-slow   the tests that fit real models for minutes"
	@echo "make bench       the speed benchmarks, against the alternatives where there are some"
	@echo "make gallery     draw every figure into docs/gallery"
	@echo "make lint        formatting, lint, types and layers only"
	@echo "make notebooks   run every notebook in full and keep its outputs"
	@echo "make clean       remove .venv, caches and builds"

demo: $(VENV)/.ready-run
	@$(BIN)/skillinfer-bayes demo

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: $(VENV)/.ready-dev
	$(BIN)/pytest -n 2 --dist loadfile -m slow

bench: $(VENV)/.ready-bench
	@set -e; for name in $(BENCHMARKS); do \
		echo "== benchmarks.$$name"; $(BIN)/python -m "benchmarks.$$name"; \
	done

gallery: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks.gallery --out docs/gallery

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

notebooks: $(VENV)/.ready-notebooks
	$(BIN)/python scripts/run_notebooks.py notebooks/*.ipynb

$(VENV)/.ready-%: $(SETUP)
	@sh scripts/setup_venv.sh $(VENV) $*

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
