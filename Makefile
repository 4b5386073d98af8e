# Two commands do everything on a fresh machine with Python 3.11+: make demo, make test.
PYTHON ?= python3
HISTORIES ?= 8
SAMPLE ?= 1
SHARE ?= 6
BIN := .venv/bin
DEMO_LOCK := requirements/demo.txt
TEST_LOCK := requirements/test.txt
SPARK_LOCK := requirements/spark.txt
UV := $(BIN)/uv pip
COMPILE := compile pyproject.toml requirements/build.in --universal --generate-hashes --quiet --no-header \
	--python-version 3.11 --no-emit-index-url

.PHONY: help demo test check unit kill truth sweep spark bench lock generate clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip --quiet --disable-pip-version-check install uv

.venv/demo: .venv/bin/uv $(DEMO_LOCK) pyproject.toml
	$(UV) install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(DEMO_LOCK)
	$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/test: .venv/bin/uv $(TEST_LOCK) pyproject.toml
	$(UV) install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(TEST_LOCK)
	$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@ .venv/demo

demo: .venv/demo  ## load the embedded newsroom into all three stores; again for a day of changes
	$(BIN)/ownlens demo

test: check unit  ## everything that must hold: make check, then the tests; SHARE=1 tries all combinations of the large ones

check: .venv/test  ## lint, format, types, import walls, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.generated --check

unit: .venv/test  ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30 --share=$(SHARE)

sweep: .venv/test
	$(BIN)/python -m pytest tests/kill -n 4 --durations=20 --kill-sample=$(SAMPLE)

kill: sweep  ## kill loads at every system call and statement, and run long random histories
	OWNLENS_HISTORIES=$(HISTORIES) $(BIN)/python -m pytest -n 4 -k any_history tests/destinations

truth: .venv/test  ## random histories of a source, its runs and its contracts; HISTORIES=n of them, new ones each time
	OWNLENS_HISTORIES=$(HISTORIES) $(BIN)/python -m pytest tests/truth -k any_history -s

.venv/spark: .venv/test $(SPARK_LOCK)
	$(UV) install --quiet --python $(BIN)/python --require-hashes -r $(SPARK_LOCK)
	$(BIN)/ownlens spark jars --config tests/spark/ownlens.toml
	@touch $@

spark: .venv/spark  ## loads on real Spark clusters of this machine (Java 17): standalone, local-cluster, Connect; kills executors
	OWNLENS_SPARK=1 $(BIN)/python -m pytest tests/spark --durations=20 --share=$(SHARE)

bench: .venv/test  ## rows per second beside each store's own limit
	$(BIN)/python -m benchmarks

generate: .venv/test  ## write the generated files again
	$(BIN)/python -m tests.generated

lock: .venv/bin/uv  ## resolve the dependencies again
	$(UV) $(COMPILE) --extra sandbox --output-file $(DEMO_LOCK)
	$(UV) $(COMPILE) --extra sandbox --group test --constraint $(DEMO_LOCK) --output-file $(TEST_LOCK)
	$(UV) $(COMPILE) --extra sandbox --extra spark --group test --constraint $(TEST_LOCK) --output-file $(SPARK_LOCK)

clean:  ## remove the virtual environment and everything that runs left behind
	rm -rf .venv var
