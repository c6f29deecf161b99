# `make repro`: the study in force, from nothing to its report. `make test`: the tests and every guard; `make deep`: the
# rest of the tests, which take as long again (several processes, all image sizes, every way to interrupt).
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: install repro test quick deep guards clean

install: $(VENV)/installed

# uv makes the same environment as pip in a tenth of the time; constraints.txt pins every version. Compiled once here,
# because every stage imports torch and half of what is here: four seconds each where Python may not write its caches.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet uv
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python --constraint constraints.txt --editable '.[dev]'
	$(VENV)/bin/python -m compileall -q dasm pipeline
	touch $@

# A downloaded archive is no Git repository, which DVC wants to be told.
repro: install
	git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	dvc repro

# Side by side: most guards, mypy above all, use one core.
test: install
	$(MAKE) --no-print-directory --jobs 2 quick guards

quick: install
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not deep"

deep: install
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m deep

guards: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

clean:
	rm -rf $(VENV) .checkpoints .pytest_cache .mypy_cache .ruff_cache
