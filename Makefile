# Every target sets up what it needs: a virtual environment in .venv with edgepress installed in it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-all lint benchmark clean

demo: $(STAMP)
	$(BIN)/edgepress demo -o demo

test: lint
	$(BIN)/python -m pytest --benchmark-disable

test-all: lint
	$(BIN)/python -m pytest --benchmark-disable -m ''

benchmark: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/types/edgepress && for room in runtime bench train optimize; do \
	    ln -sfn ../../../$$room build/types/edgepress/$$room; done
	MYPYPATH=build/types $(BIN)/mypy -p edgepress

$(STAMP): setup.cfg setup.py pyproject.toml runtime/_coder.c
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	    echo "edgepress: cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf build demo $(VENV) *.egg-info runtime/*.so
