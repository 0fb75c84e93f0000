# Each target does all its own set-up in .venv; nothing but make, git and python3-venv is needed beforehand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST_ARGS ?=
export PIP_NO_WARN_SCRIPT_LOCATION = 1

.PHONY: help demo test lint bench docs container container-test stack sbom clean
help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "csf24 needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make $(VENV): install python3-venv (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

$(VENV)/.service: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) (the service only)"
	@$(PIP) --editable '.[cpu]'
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) (service, training, development)"
	@$(PIP) --editable '.[cpu,training,dev]'
	@touch $@ $(VENV)/.service

$(VENV)/.peers: tests/benchmarks/peers-requirements.txt | $(BIN)/python
	@echo "setting up $(VENV)/peers (greedy and ANTs, to measure against)"
	@$(PYTHON) -m venv $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && touch $@ \
	  || echo "they cannot be installed here; their rows will say so"

demo: $(VENV)/.service ## the whole loop on this machine, with a simulated patient; see demo/overview.png
	@$(BIN)/csf24 demo --out demo

test: $(VENV)/.all ## every test; installs Debian's orthanc, dcmtk, dicom3tools, chromium, prometheus and poppler-utils first where it may
	@sh tests/debian-packages.sh
	@$(BIN)/lint-imports --config pyproject.toml
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.all ## ruff, mypy strict, import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml

bench: $(VENV)/.all $(VENV)/.peers ## registration beside SimpleITK, greedy and ANTs, the stages, the listener, the gate
	@$(BIN)/python -m tests.benchmarks

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) (what builds the site)"
	@$(PIP) --editable '.[docs]'
	@touch $@

PAGES := README.md CHANGELOG.md LICENSE docs deploy onnx_models/*/MODEL_CARD.md training/prepare.py training/windows.toml training/recipes
docs: $(VENV)/.docs ## README, docs and deploy as a site with search, in build/site, for any web server
	@rm -rf build/docs && mkdir -p build/docs
	@git ls-files $(PAGES) | tar --create --files-from - | tar --extract --directory build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean

container: ## the image csf24:cpu, or csf24:gpu with TARGET=gpu; needs podman, docker or buildah
	@sh deploy/container/build.sh $(or $(TARGET),cpu)

COMPOSE ?= docker compose
stack: container ## csf24 with Orthanc, Prometheus and Grafana; needs docker compose (or COMPOSE=podman-compose), openssl
	@IMAGE=csf24:$(or $(TARGET),cpu) sh deploy/compose/secrets.sh
	@$(COMPOSE) --file deploy/compose.yaml $(if $(filter gpu,$(TARGET)),--file deploy/compose.gpu.yaml) up --detach
	@echo "status page https://localhost:8024 (admin), Orthanc http://localhost:8042 (admin), Grafana http://localhost:3000 (admin)"
	@echo "passwords: deploy/secrets; images: C-STORE to ORTHANC at localhost:4242"

container-test: $(VENV)/.all ## builds the image and runs it, closed as on a host; needs podman; some 4 minutes
	@CSF24_TESTS_CONTAINER=1 $(BIN)/python -m pytest -rs $(PYTEST_ARGS) tests/integration/deploy/test_container.py

SHIPPED := $(VENV)/shipped
CUDA    := onnxruntime-gpu[cuda,cudnn]
sbom: $(BIN)/python ## what the image installs, as CycloneDX, and its licences, into build/sbom; TARGET=gpu for that image
	@rm -rf $(SHIPPED) && $(PYTHON) -m venv $(SHIPPED)
	@$(SHIPPED)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  '.[$(or $(TARGET),cpu)]' $(if $(filter gpu,$(TARGET)),'$(CUDA)')
	@$(SHIPPED)/bin/python -m pip uninstall --quiet --yes pip setuptools
	@$(PIP) --editable '.[sbom]'
	@mkdir -p build/sbom
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom/csf24-$(or $(TARGET),cpu).cdx.json $(SHIPPED)/bin/python
	@$(BIN)/pip-licenses --python=$(SHIPPED)/bin/python --from=mixed --order=license --with-urls --format=csv \
	  --output-file=build/sbom/licences-$(or $(TARGET),cpu).csv
	@rm -rf $(SHIPPED)

clean: ## remove what make made
	rm -rf $(VENV) demo build *.egg-info
