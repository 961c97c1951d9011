# `make demo` and `make test` need nothing but Python 3.11+; everything goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
FILES := $(shell find emqlang grammar quant evolve -type f -not -name '*.pyc') pyproject.toml

MINUTES ?= 10

.PHONY: demo test fuzz attack check dev docs site bench clean

demo: .venv/installed
	$(BIN)/emqlang eval "log(abs(grad_synflow)) * sqrt(mean(abs(w)))" --model resnet18
	$(BIN)/emqlang eval --proxy emq --proxy hawq_v2 --model resnet18-fmnist

# Deterministic: hypothesis draws the same examples and sets have the same order in every run.
test: .venv/installed check
	OMP_NUM_THREADS=1 PYTHONHASHSEED=0 $(BIN)/pytest -n 2 --dist worksteal --durations=15 tests

# Fresh examples of every property for MINUTES minutes: `make fuzz MINUTES=60`.
fuzz: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -P tests/fuzz.py --minutes $(MINUTES)

# Kills, edited files, foreign networks and more, for MINUTES minutes; goes on where it was stopped.
attack: .venv/installed
	$(BIN)/python tests/attack --out attack --minutes $(MINUTES) --report docs/reliability.md

# Lint the sources; type-check the wheel as it is installed (from elsewhere, or the folder emqlang/ would shadow it).
check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd tests && ../$(BIN)/mypy --config-file ../pyproject.toml -p emqlang

# Edit in place. `strict` writes a tree of links that type checkers and editors can follow; run it again after adding a file.
dev: .venv/dependencies
	$(PIP) install -q --no-deps --force-reinstall --config-settings editable_mode=strict -e .
	rm -f .venv/installed

# The pages of docs/reference, from the tables in the code.
docs: .venv/installed
	$(BIN)/python docs/generate.py

# The documents as a site in site/; a broken link ends it.
site: docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed
	$(PIP) install -q -c constraints.txt numexpr pulp
	$(BIN)/python benchmarks/run.py

.venv/dependencies: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	rm -rf build
	$(PIP) install -q -c constraints.txt ".[dev]"
	touch $@

.venv/installed: .venv/dependencies $(FILES)
	rm -rf build
	$(PIP) install -q --no-deps --force-reinstall .
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info
