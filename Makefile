# Every target sets up what it needs: a virtual environment in .venv with edgepress installed in it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-all lint benchmark study results results-readme fuzz wheel test-aarch64 test-tflite-runtime clean

demo: $(STAMP)
	$(BIN)/edgepress demo -o demo

test: lint
	$(BIN)/python -m pytest --benchmark-disable

test-all: lint
	$(BIN)/python -m pytest --benchmark-disable -m ''

benchmark: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

# The study of 2024 with models trained anew on the images of DATA (hours), on those of TEST; VGG=file adds the perceptual loss.
study: $(STAMP)
	@test -d "$(DATA)" || { echo "edgepress: make study DATA=training-images [TEST=other-images] [VGG=weights.npz]" >&2; exit 1; }
	$(BIN)/edgepress bench --study --train "$(DATA)" --training-images "$(DATA)" $(if $(TEST),--images "$(TEST)") \
	    $(if $(VGG),--vgg "$(VGG)") --json study.json --report study.html --figures study-figures

# What the README quotes, measured anew (DATA holds kodak/, val/ and clothing128/), and put into it.
results: $(STAMP)
	@test -d "$(DATA)" || { echo "edgepress: make results DATA=folder-of-image-sets" >&2; exit 1; }
	$(BIN)/python results/measure.py --data "$(DATA)" $(ONLY)
	$(BIN)/python results/render.py

results-readme: $(STAMP)
	$(BIN)/python results/render.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/types/edgepress && for room in runtime bench train optimize; do \
	    ln -sfn ../../../$$room build/types/edgepress/$$room; done
	MYPYPATH=build/types $(BIN)/mypy -p edgepress

# Coverage-guided where it can be: the C coder under clang's sanitizers, the readers under atheris. Each of the four runs for
# FUZZ_SECONDS; what they find lies in build/fuzz/crashes.
FUZZ_SECONDS ?= 60
FUZZ := build/fuzz
CLANG ?= clang
fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/seeds.py $(FUZZ)
	CLANG=$(CLANG) tests/fuzz/coder.sh $(BIN)/python $(FUZZ) $(FUZZ_SECONDS)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check atheris || \
	    echo "no atheris for this Python: the readers get random damage"
	$(BIN)/python tests/fuzz/reader.py --seconds $(FUZZ_SECONDS) --out $(FUZZ)
	$(BIN)/python tests/fuzz/reader.py --random --seconds $(FUZZ_SECONDS) --out $(FUZZ)
	$(BIN)/python tests/fuzz/networks.py --seconds $(FUZZ_SECONDS) --out $(FUZZ)

# For this machine's processor and every Python from 3.10 on; a wheel without the C coder would be none for all.
wheel: $(STAMP)
	@rm -rf build/wheels build/lib* build/bdist* build/temp*
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheels .
	@$(BIN)/python -m zipfile -l build/wheels/*-cp310-abi3-*.whl | grep -q '_coder.*\.so' || { \
	    echo "edgepress: the C coder was not built (apt install gcc python3-dev), so there is no wheel" >&2; \
	    rm -rf build/wheels; exit 1; }
	@ls build/wheels/*.whl

test-aarch64: $(STAMP)
	tests/devices/aarch64.sh $(BIN)/python

TFLITE_PYTHON ?= $(BIN)/python
test-tflite-runtime: $(STAMP)
	tests/devices/tflite_runtime.sh $(TFLITE_PYTHON)

$(STAMP): setup.cfg setup.py pyproject.toml $(wildcard runtime/_coder*.[ch])
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	    echo "edgepress: cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf build demo $(VENV) *.egg-info runtime/*.so
