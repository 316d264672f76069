# Corral's daily work. `make` lists it.
SHELL := bash

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -X main.version=$(VERSION)
RACE     := $(shell go list -race errors >/dev/null 2>&1 && echo -race)# the race detector needs cgo
FUZZTIME ?= 60s
# Until Go 1.27 the end of -fuzztime itself is now and then reported as a failure (golang/go#75804), so:
TIMEUP   := *context deadline exceeded
CROSS    := windows/amd64 darwin/arm64

export VERSION

.PHONY: help build demo test e2e sdk bench lint cross ci dist nightly clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf 'make %-9s %s\n' "$$name" "$$text"; done

build: ## build bin/corral
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/corral

demo: build ## a burst on Ollama alone, then through Corral (KEEP=1 stays up afterwards)
	@ollama=$$(scripts/ollama.sh) && exec bin/corral demo --ollama "$$ollama" $(if $(KEEP),--keep)

test: ## all tests that need nothing but Go
	go test $(RACE) ./...

e2e: ## tests against real Ollama servers and clients (RUN=regexp picks some, UPDATE=1 writes docs/compatibility.md)
	ollama=$$(scripts/ollama.sh) && CORRAL_OLLAMA=$$ollama go test -tags e2e -count=1 -timeout 30m $(if $(RUN),-v -run '$(RUN)') ./ollamatest/... ./test/e2e/...

sdk: ## official Go, Python and JavaScript clients with and without Corral
	CORRAL_E2E_SDK=1 $(MAKE) --no-print-directory e2e RUN='^TestSDK$$'

bench: ## measure the budgets beside the standard library's proxy (Linux)
	go run ./test/bench

lint: ## formatting, go vet and golangci-lint
	scripts/lint.sh

cross: ## everything compiles, tests too, on the other systems
	@for target in $(CROSS); do \
		export GOOS=$${target%/*} GOARCH=$${target#*/}; \
		echo "$$target"; \
		go vet ./... && go build -o /dev/null ./cmd/corral || exit 1; \
	done

ci: ## what CI runs: lint, test, cross, e2e, sdk
	@for step in lint test cross e2e sdk; do \
		echo "== $$step"; \
		start=$$SECONDS; \
		$(MAKE) --no-print-directory $$step || { echo "== $$step failed after $$((SECONDS - start)) s"; exit 1; }; \
		echo "== $$step passed in $$((SECONDS - start)) s"; \
	done

dist: ## archives for all systems, and their checksums, in dist/
	scripts/dist.sh

nightly: ## long fuzz, property and race runs, and long waits (FUZZTIME=60s for each fuzz target)
	@mkdir -p .cache; set -o pipefail; \
	for file in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd internal ollamatest); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "== $$target in $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" 2>&1 | tee .cache/fuzz.log || \
				grep -qx ' $(TIMEUP)' .cache/fuzz.log || exit 1; \
		done; \
	done
	go test -timeout 2h ./internal/dispatch -rapid.checks=20000
	go test $(RACE) -count=5 -timeout 1h ./...
	CORRAL_E2E_LONG=1 $(MAKE) --no-print-directory e2e RUN='^TestClaudeCode$$'

clean: ## remove what was built (.cache stays)
	rm -rf bin dist
