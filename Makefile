# make demo          sets up what it needs and runs the main job on examples/
# make quick         runs the quick tests, in a minute: no root, nothing installed on the system
# make lint          style and types
# make test          lint, and all tests but those of test-kernel; as root it installs Debian packages
# make pythons       runs tests with the Pythons of Debian's newer releases, here and on arm64
# make coverage      which lines the tests on this computer run, those on arm64 and in kernels left out
# make test-builds   builds and runs the C programs under all combinations of settings
# make test-kernel   builds Linux kernels with the port and runs the tests in them, in QEMU
# make torture       runs the tests' torture for twenty times as long, half an hour or more
# make random-designs  the checker on 20,000 designs at random, half an hour or more
# make herd7         the checker and Arm's herd7 on thousands of litmus tests, half an hour or more
# make shapes        makes src/static_call/design/shapes.py anew from the shipped designs
# make bench         measures: see bench/
# make bench-kernel  compares designs in the kernel

PYTHON ?= python3
VENV   ?= .venv
BUILD  ?= build
BIN    := $(VENV)/bin

# What the tests run; the demo needs none of it.
DEBIAN := gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu \
          clang lld clang-19 lld-19 llvm mold qemu-user pkg-config musl-dev:arm64 \
          git perl linux-source-6.1 linux-source-6.12

# What builds and boots kernels.
DEBIAN_KERNEL := gcc make bc bison flex libssl-dev libelf-dev xz-utils ccache kmod linux-source-6.12 \
                 linux-source-6.1 gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
                 binutils-aarch64-linux-gnu clang

.PHONY: demo quick lint test pythons coverage test-builds test-kernel torture random-designs fuzz \
        herd7 shapes bench bench-kernel clean

demo: $(VENV)/package
	@scripts/demo $(BIN) $(BUILD)/demo

quick: $(VENV)/tests
	$(BIN)/pytest -n 2 -m 'not slow'

lint: $(VENV)/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright --verifytypes static_call --ignoreexternal

test: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	@$(BIN)/python tests/arm64_linux.py
	@$(BIN)/python tests/herdtools.py
	$(MAKE) lint
	$(BIN)/pytest -n 2

pythons: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	$(BIN)/python tests/newer_pythons.py

coverage: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	$(BIN)/pytest -n 2 --cov --cov-report=term --cov-report=html:$(BUILD)/coverage

fuzz: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	MUTANTS=20000 $(BIN)/pytest -s tests/test_elf_mutations.py
	KILLS=100 $(BIN)/pytest -s -k killed tests/test_set.py

test-builds: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	BUILDS=all $(BIN)/pytest -n 2 tests/test_c_builds.py

torture: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	@$(BIN)/python tests/arm64_linux.py
	TORTURE=20 $(BIN)/pytest tests/test_torture.py

random-designs: $(VENV)/tests
	RANDOM_DESIGNS=20000 $(BIN)/pytest -n 2 tests/test_check_random.py

herd7: $(VENV)/tests
	$(BIN)/python tests/herd7.py

shapes: $(VENV)/package
	@mkdir -p $(BUILD)
	$(BIN)/python scripts/make_shapes.py > $(BUILD)/shapes.py
	@mv $(BUILD)/shapes.py src/static_call/design/shapes.py

bench: $(VENV)/tests
	@scripts/debian $(DEBIAN)
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/calls.py
	$(BIN)/python bench/elf.py
	@$(BIN)/python tests/arm64_linux.py
	PYTHONPATH=tests $(BIN)/python bench/process.py

test-kernel: $(VENV)/tests
	@scripts/debian $(DEBIAN_KERNEL)
	$(BIN)/pytest -s -x tests/kernel

bench-kernel: $(VENV)/tests
	@scripts/debian $(DEBIAN_KERNEL)
	$(BIN)/python bench/kernel.py

$(VENV)/package: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/debian python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tests: $(VENV)/package
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(BUILD)
