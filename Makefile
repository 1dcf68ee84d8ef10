# Set-up is done once, in .venv and .tox.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For make robot: where the system runs (local or cluster), and further options.
TARGET ?= local
ROBOT ?=

# For make demo: options of the role dev, such as --chaos.
DEMO ?=

# For make mutants: the beginning of the paths of modules, and further options.
ONLY ?=
MUTANTS ?=

.PHONY: help demo test coverage docs bench chaos picture pictures simulate mutants robot cluster-test clean

help:
	@echo "make demo          Run all roles in one process, with an embedded Redis"
	@echo "make test          Run all checks and tests"
	@echo "make coverage      Show which lines and branches the unit tests do not reach; fail below the floor"
	@echo "make docs          Build the HTML site (guides and API) in build/docs"
	@echo "make bench         Compare eventsvc with its peers and write docs/benchmarks.md"
	@echo "make chaos         Inject every kind of fault and check the promises"
	@echo "make picture       Draw docs/chaos.svg: what clients see while Redis is killed and restarted"
	@echo "make pictures      Take docs/dashboard.png and docs/demo.svg from a running system"
	@echo "make simulate      Run 100,000 simulated schedules of faults, then plant bugs that must be found"
	@echo "make mutants       Change the code in many ways and report changes that no unit test detects"
	@echo "make robot         Run the Robot suites on this machine, or with TARGET=cluster on a release in a cluster"
	@echo "make cluster-test  Install the chart on the cluster of kubectl's context and inject faults there"
	@echo "make clean         Remove everything the other targets created"

$(VENV)/made: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(BIN)/tox: $(VENV)/made
	$(BIN)/python -m pip install --quiet 'tox >= 4.20' 'tox-uv >= 1.20'
	@touch $@

demo: $(VENV)/made
	@$(BIN)/twistd -n eventsvc dev $(DEMO)

# The longest first: the others run one after the other beside it.
test: $(BIN)/tox
	@$(BIN)/tox run-parallel --parallel-no-spinner -e py,lint,types,docs,lowest

coverage: $(BIN)/tox
	@$(BIN)/tox -q -e coverage

docs: $(BIN)/tox
	@$(BIN)/tox -q -e docs

bench: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@$(BIN)/python -m benchmarks --write docs/benchmarks.md

chaos: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,chaos]'
	@$(BIN)/python -m chaos run --repeat 3 --report build/chaos
	@$(BIN)/python -m chaos self-test --report build/chaos-self-test

picture: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,chaos]'
	@$(BIN)/python -m chaos run redis-killed --seed 7 --report build/picture
	@cp build/picture/redis-killed-7.svg docs/chaos.svg

pictures: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,pictures]'
	@$(BIN)/python -m tools.pictures

simulate: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[simulation]'
	@$(BIN)/python -m simulation run --schedules 100000 --report build/simulation
	@$(BIN)/python -m simulation self-test --report build/simulation

mutants: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[mutants]'
	@$(BIN)/python -m tools.mutants $(MUTANTS) $(ONLY)

robot: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,robot]'
	@$(BIN)/python -m robot --outputdir build/robot --variable TARGET:$(TARGET) $(ROBOT) robot

cluster-test: $(VENV)/made
	@$(BIN)/python -m pip install --quiet --editable '.[dev,robot]'
	@$(BIN)/python -m cluster

clean:
	rm -rf $(VENV) .tox build dist *.egg-info
