# Sorting Office. `make demo` and `make test` need nothing but Debian, Python 3.11 or newer, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo run test looks bench chaos fuzz lint servers clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    a whole office to look at: pages, engine, mail servers, people and their mail"
	@echo "make run     pages and engine on this machine's own database"
	@echo "make test    everything the tests need, then the tests"
	@echo "make looks   the pages in Chromium, wide and narrow, each by day and by night"
	@echo "make bench   ours beside the limit of the wire and beside django-mailbox, case by case"
	@echo "make chaos   engines killed at random behind a network that fails at random, on SQLite and PostgreSQL"
	@echo "make fuzz    mutations of broken mail that follow the parser's coverage, for ten minutes"
	@echo "make lint    format, lint, types and import arrows"

install: $(READY)

$(READY): requirements.txt
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
		rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			mkdir -p /etc/postgresql-common/createcluster.d; \
			echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/sorting-office.conf; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; \
		else \
			echo "Python's venv is missing. Run: sudo apt-get install python3-venv"; exit 1; \
		fi; \
		$(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

demo: install
	@exec $(BIN)/python manage.py demo $(ARGS)

run: install
	@exec $(BIN)/python manage.py serve $(ARGS)

# The servers that the tests start: as root they are installed, otherwise the tests say what they left out.
# Postfix comes without a configuration, so it does not run by itself, and never in place of another mail server;
# PostgreSQL comes without a database, so neither does it.
servers:
	@missing=""; \
	command -v dovecot >/dev/null || missing="$$missing dovecot-imapd"; \
	test -x /usr/lib/dovecot/pop3 || missing="$$missing dovecot-pop3d"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v sievec >/dev/null || missing="$$missing dovecot-sieve dovecot-lmtpd"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v postfix >/dev/null || command -v sendmail >/dev/null || missing="$$missing postfix"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections; \
			mkdir -p /etc/postgresql-common/createcluster.d; \
			echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/sorting-office.conf; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
				|| echo "Could not install:$$missing"; \
		else \
			echo "Left out are tests against:$$missing. To run them: sudo apt-get install$$missing"; \
		fi; \
	fi

test: install servers lint
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

# `make test` sees each page wide by day and narrow by night; this sees all four.
looks: install servers
	EVERY_LOOK=1 $(BIN)/python -m pytest tests/browser -n 3 --dist worksteal $(ARGS)

# What we are measured against has an environment of its own, and is not part of the locked requirements.
PEER ?= var/peer
CASES ?=

$(PEER)/.ready: | install
	@$(BIN)/python -m venv $(PEER)
	@$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check \
		"django-mailbox>=4.10" "Django>=5.2,<5.3" "psycopg[binary]>=3.2" && touch $@ \
		|| echo "django-mailbox could not be installed: the table has no peer."

bench: install servers $(PEER)/.ready
	PEER=$(PEER) $(BIN)/python -m tests.benchmarks $(CASES)

# Needs a wheel of atheris, so it is not part of the locked requirements. A later -max_total_time counts.
fuzz: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "atheris>=3.0"
	$(BIN)/python -m tests.parsing.fuzz -max_total_time=600 $(ARGS)

# The seeds are in the names of the tests; RUNS says how many, SEED where they begin.
RUNS ?= 25
SEED ?= $(shell date +%s)

chaos: install servers
	SWEEP=all $(BIN)/python -m pytest tests/faults/test_sweep.py -v -s
	CHAOS_RUNS=$(RUNS) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest tests/faults/test_chaos.py -v $(ARGS)
	CHAOS_RUNS=$(RUNS) CHAOS_SEED=$(SEED) $(BIN)/python -m tests.postgres $(BIN)/python -m pytest tests/faults/test_chaos.py -v $(ARGS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

requirements.txt: pyproject.toml
	@echo "pyproject.toml is newer than requirements.txt: compile it anew (see the README, Dependencies)."
	@touch $@

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
