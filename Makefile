# Every target sets itself up in $(VENV); Python 3.11+, pip and a package index are all it needs.
PYTHON ?= python3
VENV ?= .venv
STAMP = $(VENV)/installed

.PHONY: demo test test-slow lint clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/detect demo --out demo --overwrite

# One process a core, one thread each; a file's tests stay together, for they share fixtures.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile

test-slow: $(STAMP)
	$(VENV)/bin/python -m pytest -m slow

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/python tests/lint_names.py

clean:
	rm -rf $(VENV) demo phantom runs build *.egg-info
