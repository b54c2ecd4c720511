# deskline: `make help` lists what there is. `make demo` and `make test` make their own environment first.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up down gateway status test test-unit test-faults rehearse load soak chaos fuzz lint types contracts docs-check check-alerts check-chart chart-tools sbom bench bench-quality bench-routing bench-decode ci lock clean

help: ## Show this list
	@echo "deskline: make TARGET [ARGS='...']"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv first (one small wheel, by hash), because it installs the rest ten times as fast; pip does it where uv cannot. Compiled,
# because a process that may not write bytecode (PYTHONDONTWRITEBYTECODE) would compile a second's worth at each of its starts.
$(VENV)/.bootstrapped: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "deskline needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

define install
	@echo "Installing $(1) (hash-pinned) ..."
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(1) \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q shared services
endef

$(VENV)/.run: $(VENV)/.bootstrapped requirements/run.txt pyproject.toml
	$(call install,requirements/run.txt)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(call install,requirements/dev.txt)
	@touch $@

$(VENV)/.gateway: $(VENV)/.run requirements/gateway.txt
	@echo "Installing requirements/gateway.txt (hash-pinned) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/gateway.txt \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/gateway.txt
	@touch $@

setup: $(VENV)/.run ## Make the environment: everything that runs, embedded Kafka and PostgreSQL included
setup-dev: $(VENV)/.dev ## The same, with the tools of those who change the code

demo: $(VENV)/.run ## Replay real conversations through the whole stack, with a live board (ARGS='--lang zh')
	@$(BIN)/deskline demo $(ARGS)

up: $(VENV)/.run ## Start Kafka, PostgreSQL and the four services, and stay (ARGS='--state-dir DIR')
	@$(BIN)/deskline up $(ARGS)

down: $(VENV)/.run ## Stop what `make up` started; the data stays
	@$(BIN)/deskline down $(ARGS)

gateway: $(VENV)/.gateway ## A reference gateway with pages for a customer and an agent, against `make up` (ARGS='--port 8080')
	@$(BIN)/python -m examples.gateway serve $(ARGS)

status: $(VENV)/.run ## Say in one screen how the stack is
	@$(BIN)/deskline status $(ARGS)

test: $(VENV)/.dev ## All tests but the fault plan: units, then real Kafka and PostgreSQL (ARGS='-k name')
	@$(BIN)/python -m pytest -m "not faults and not rehearsal" -n 2 --dist loadgroup --histories 10000 $(ARGS)

test-unit: $(VENV)/.dev ## Only what needs neither Kafka nor PostgreSQL: seconds
	@$(BIN)/python -m pytest tests/unit -n 2 $(ARGS)

test-faults: $(VENV)/.dev ## The fault plan: kills, freezes and restarts under load; minutes
	@$(BIN)/python -m pytest -m faults $(ARGS)

rehearse: $(VENV)/.dev ## Scaling, cells and upgrades under load, with figures (ARGS='-k scale'); many minutes
	@$(BIN)/python -m pytest -m rehearsal -s $(ARGS)

load: $(VENV)/.dev ## A festival: arrivals × 4 and back, with figures and a plot (ARGS='--long' for 3 × 10 minutes, 1000 at a time, 200 agents)
	@mkdir -p dist
	@$(BIN)/python -m tests.load.rehearse festival --json dist/load.json --plot dist/load.png $(ARGS)

soak: $(VENV)/.dev ## Five minutes of the same load: what grows (ARGS='--long' for thirty)
	@mkdir -p dist
	@$(BIN)/python -m tests.load.rehearse soak --json dist/soak.json --plot dist/soak.png $(ARGS)

chaos: $(VENV)/.dev ## Every named fault under load, in an order drawn from a seed (ARGS='--list', '--draw 8', '--only NAME', '--seed N')
	@mkdir -p dist
	@$(BIN)/python -m tests.chaos --json dist/chaos.json $(ARGS)

fuzz: $(VENV)/.dev ## A million mutated inputs for everything that reads bytes (ARGS='--inputs N --target NAME --seed N'); minutes
	@$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy strict, import contracts, generated documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m deskline.events.schemas --check
	@$(BIN)/deskline config schema --check docs/config
	@$(BIN)/deskline router openapi --check docs/router-desk.openapi.json
	@$(BIN)/mypy -p deploy -p benchmarks
	@$(BIN)/mypy -p examples.gateway
	@$(BIN)/python -m deploy.monitoring --check
	@$(BIN)/python -m deploy.licences --check

check-alerts: $(VENV)/.dev ## Rules, their tests and Alertmanager's routing, by promtool and amtool (Debian: prometheus, prometheus-alertmanager)
	@$(BIN)/python -m deploy.monitoring --check
	@promtool check rules deploy/prometheus/rules/*.yml
	@promtool check config deploy/prometheus/prometheus.yml
	@promtool test rules deploy/prometheus/tests/*.yml
	@amtool check-config deploy/alertmanager/alertmanager.yml

TOOLS := $(CURDIR)/.tools/bin

$(TOOLS)/helm:
	GOBIN=$(TOOLS) go install helm.sh/helm/v3/cmd/helm@v3.22.0

$(TOOLS)/kubectl-validate:
	GOBIN=$(TOOLS) go install sigs.k8s.io/kubectl-validate@v0.0.4

chart-tools: $(TOOLS)/helm $(TOOLS)/kubectl-validate ## helm and kubectl-validate, built by Go: minutes, once; without them the chart's tests are skipped

check-chart: $(VENV)/.dev chart-tools ## Lint, render and validate deploy/helm/deskline
	@$(BIN)/python -m pytest -q tests/unit/test_helm.py

.tools/sbom/bin/cyclonedx-py: requirements/sbom.txt | $(VENV)/.bootstrapped
	@$(BIN)/uv venv --quiet --clear .tools/sbom
	@$(BIN)/uv pip install --quiet --python .tools/sbom --require-hashes -r requirements/sbom.txt

sbom: $(VENV)/.dev .tools/sbom/bin/cyclonedx-py ## What is in the image, with licences and dependencies: dist/deskline.cdx.json (CycloneDX)
	@$(BIN)/uv venv --quiet --clear .tools/image
	@$(BIN)/uv pip install --quiet --python .tools/image --require-hashes -r requirements/image.txt
	@$(BIN)/uv pip install --quiet --python .tools/image --no-deps .
	@mkdir -p dist
	@.tools/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --gather-license-texts --spec-version 1.6 \
	  --output-reproducible --output-format JSON --output-file dist/deskline.cdx.json .tools/image
	@echo "dist/deskline.cdx.json"

bench: $(VENV)/.dev ## Benchmarks beside their baselines (ARGS='PART --json FILE')
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quality: $(VENV)/.dev ## How good answers and filter are (ARGS='faq|intents|sensitive|mine --data PATH --json FILE')
	@$(BIN)/python -m benchmarks.quality $(ARGS)

bench-routing: $(VENV)/.dev ## Our routing policy against four others, in virtual time (ARGS='--arrivals FILE --json FILE')
	@$(BIN)/python -m benchmarks.routing $(ARGS)

ci: ## What CI runs: lint, all tests, the fault plan in small
	@bash .ci/run

lock: $(VENV)/.bootstrapped ## Renew the hash-pinned requirements
	@cd requirements && for part in bootstrap:bootstrap.in run:"../pyproject.toml build.in --extra broker --extra cold --extra plots" dev:"../pyproject.toml build.in --extra broker --extra cold --extra plots --group ../pyproject.toml:dev -c run.txt" gateway:"--group ../pyproject.toml:gateway -c run.txt" \
	    image:"../pyproject.toml --extra cold -c run.txt" build:"build.in -c run.txt" sbom:"--group ../pyproject.toml:sbom"; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	    $${part#*:} -o $${part%%:*}.txt || exit 1; done

clean: ## Remove the environment and caches (not the data of `make up`)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .tools dist
