# Everything a developer types. `make` alone tells what there is.
#
# Two settings hold for every Go command here, so that the Kubernetes packages are compiled once and not once per command:
# no cgo (SQLite is the pure Go one) and -trimpath. Only the race detector needs cgo, and compiles its own set.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false

BIN := bin
TOOLS := $(BIN)/tools
# kubectl finds its plugin, and tests and the demo find both, on the PATH.
export PATH := $(CURDIR)/$(TOOLS):$(CURDIR)/$(BIN):$(PATH)
export KUBECTL := $(CURDIR)/$(TOOLS)/kubectl

PLANE_COMMANDS := ./cmd/cellfed ./cmd/cellfed-playground
# What people and members download is built without gRPC's own web pages, which are a quarter of it. The plane is not: nearly
# all that it links would have to be compiled once more, because tests link it with them.
SMALL_COMMANDS := ./cmd/kubectl-cellfed ./cmd/cellfed-agent ./cmd/cellfed-manager
SMALL := -tags grpcnotrace
DEMO := $(TOOLS)/demo

# What the linker writes into the binaries: our version, and the one that the API servers in them answer with.
KUBERNETES_VERSION := v1.36.3
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
KUBERNETES_VARS := k8s.io/component-base/version
LDFLAGS := -s -w \
	-X github.com/cellfed/cellfed/pkg/version.version=$(VERSION) \
	-X $(KUBERNETES_VARS).gitVersion=$(KUBERNETES_VERSION) \
	-X $(KUBERNETES_VARS).gitMajor=1 \
	-X $(KUBERNETES_VARS).gitMinor=36 \
	-X $(KUBERNETES_VARS).gitTreeState=clean

GOBUILD = go run ./test/tools/gobuild
GOTEST = go run ./test/tools/gotest -sum $(BIN)/test-figures.json

# Packages whose tests link k8s.io/kubernetes: they wait for the build, which compiles what they need.
HEAVY := /(pkg/apiserver|pkg/playground|cmd/cellfed|cmd/cellfed-playground)(/|$$)
END_TO_END := /test/
SELF_CONTAINED := /test/(tools|floors|samples|harness/process|harness/database)(/|$$)
# Where goroutines meet. The pure floors have none, and the heavy packages take the race detector too long.
RACING := /(pkg/(member|apply|inventory|typewatch|storage|host|kms|election|manager|controllers)|webhooks|proxy|test/mysqlproxy)(/|$$)

LIGHT_PACKAGES = $$(go list ./... | grep -vE '$(HEAVY)|$(END_TO_END)'; go list ./... | grep -E '$(SELF_CONTAINED)')
HEAVY_PACKAGES = $$(go list ./... | grep -E '$(HEAVY)')
END_TO_END_PACKAGES = $$(go list ./... | grep -E '$(END_TO_END)' | grep -vE '$(SELF_CONTAINED)|$(RACING)')
RACE_PACKAGES = $$(go list ./... | grep -E '$(RACING)')

FUZZTIME ?= 30s
# A million steps, and another million each time; a failing run says how to tell it again.
SOAK_LIVES ?= 24000
SOAK_STEPS ?= 400
SOAK_FROM := $(or $(SOAK_FROM),$(shell date +%s))
FAULTS ?= 2000
KILLS ?= 300
BENCHTIME ?= 1s
CONTROLLER_GEN := sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
GENERATED := config/crd pkg/apis

##@ Use

.PHONY: help
help: ## Tell what can be made (the default)
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {sub(":.*", "", $$1); printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build tools ## Gray-release an application over three real members, cell by cell; one of them can only dial out
	@$(GOBUILD) -o $(TOOLS) ./test/demo -- -ldflags '$(LDFLAGS)'
	@$(DEMO)

##@ Develop

.PHONY: build
build: ## Build bin/cellfed, bin/kubectl-cellfed, bin/cellfed-playground, bin/cellfed-agent and bin/cellfed-manager
	@$(GOBUILD) -o $(BIN) $(PLANE_COMMANDS) -- -ldflags '$(LDFLAGS)'
	@$(GOBUILD) -o $(BIN) $(SMALL_COMMANDS) -- $(SMALL) -ldflags '$(LDFLAGS)'

.PHONY: tools
tools: ## Build what tests and the demo use: kubectl, etcd, a KMS plugin, an agent of others
	@$(GOBUILD) -o $(TOOLS) k8s.io/kubernetes/cmd/kubectl sigs.k8s.io/apiserver-network-proxy/cmd/agent ./test/tools/etcd ./test/tools/kmsplugin -- -ldflags '$(LDFLAGS)'

.PHONY: databases
databases: ## Install MariaDB from Debian's packages and build etcd, for tests of storage
	@test/tools/databases/install
	@$(GOBUILD) -o $(TOOLS) ./test/tools/etcd -- -ldflags '$(LDFLAGS)'

.PHONY: test
test: ## Test everything, from pure tables to real members
	@mkdir -p $(BIN) && rm -f $(BIN)/test-figures.json
	@$(MAKE) -k test-light test-race test-heavy test-e2e; code=$$?; \
		go run ./test/tools/gotest -total $(BIN)/test-figures.json; exit $$code

.PHONY: test-light
test-light: databases ## Test what links no Kubernetes: seconds once it is compiled
	@$(GOTEST) -stage 'pure and light packages' $(LIGHT_PACKAGES) -- -timeout 10m

.PHONY: test-race
test-race: databases ## Test under the race detector what runs goroutines
	@$(GOTEST) -stage 'race detector' $(RACE_PACKAGES) -- -race -timeout 15m

.PHONY: test-heavy
test-heavy: build ## Test the packages that link Kubernetes
	@$(GOTEST) -stage 'packages that link Kubernetes' $(HEAVY_PACKAGES) -- -p 1 -timeout 15m

.PHONY: test-e2e
test-e2e: build tools databases ## Test the built binaries on real members
	@$(GOTEST) -stage 'end to end' $(END_TO_END_PACKAGES) -- -count=1 -p 1 -timeout 40m

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (30s)
	@for pkg in $$(go list ./...); do \
		for fuzz in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$(go list -f '{{$$d := .Dir}}{{range .TestGoFiles}}{{$$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$d}}/{{.}} {{end}}' $$pkg) /dev/null | cut -c6-); do \
			echo "== $$pkg $$fuzz"; go test -run '^$$' -fuzz "^$$fuzz\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: soak
soak: build tools ## Watch over the laws for long: SOAK_LIVES in memory (a million steps), SOAK_STEPS over real members
	@echo "== random lives $(SOAK_FROM) and after, in memory"
	@go test -count=1 -timeout 0 ./pkg/plan -run TheLawsHoldInRandomLives -lives $(SOAK_LIVES) -first-life $(SOAK_FROM) -v | grep -vE '^=== '
	@echo "== a real life of seed $(SOAK_FROM)"
	@go test -count=1 -timeout 0 ./test/e2e -run ARealLifeKeepsTheLaws -life.steps $(SOAK_STEPS) -life.seed $(SOAK_FROM) -v | grep -vE '^=== '

.PHONY: faults
faults: build tools databases ## Spoil whole planes for long: FAULTS (2000) of their database, KILLS (300) of them on MariaDB and on SQLite
	@go test -count=1 -timeout 0 ./test/faults -v -args -faults=$(FAULTS) -kills=$(KILLS) $(if $(SEED),-seed=$(SEED)) | grep -vE '^=== '

.PHONY: bench
bench: build tools ## Run the benchmarks: of functions for BENCHTIME (1s), then of a plane with members
	@go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(LIGHT_PACKAGES) | grep -vE '^(ok|PASS|\?)|no test files'
	@if [ -d test/bench ]; then go run ./test/bench; fi

.PHONY: lint
lint: ## Lint with .golangci.yml
	@# Without the packages that link Kubernetes: to type-check those takes many minutes and gigabytes.
	@go run $(GOLANGCI_LINT) run $$(go list -f '{{.Dir}}' ./... | grep -vE '$(HEAVY)' | sed 's|^$(CURDIR)|.|')

.PHONY: generate
generate: ## Write deep copies and CRDs anew from pkg/apis
	@go run $(CONTROLLER_GEN) object crd:crdVersions=v1,generateEmbeddedObjectMeta=false output:crd:dir=config/crd \
		paths=./pkg/apis/core/... paths=./pkg/apis/topology/... paths=./pkg/apis/propagation/...
	@go run $(CONTROLLER_GEN) object paths=./pkg/apis/config/...
	@go run ./config/crdgen config/crd

.PHONY: verify
verify: verify-static generate ## Fail when something generated, formatted or listed is not as it should be
	@test -z "$$(git status --porcelain -- $(GENERATED))" || { git --no-pager diff -- $(GENERATED); git status --short -- $(GENERATED); \
		echo "verify: generated files differ from what is committed: run make generate and commit" >&2; exit 1; }
	@# -e: tests of sigs.k8s.io/kubefed import a package that is gone, which tidy would call an error.
	@go mod tidy -e -diff 2>$(BIN)/tidy.err || { cat $(BIN)/tidy.err >&2; \
		echo "verify: go.mod or go.sum is not tidy: run go mod tidy -e and commit" >&2; exit 1; }

.PHONY: verify-static
verify-static: ## The part of verify that needs no generator: gofmt, go vet, floors
	@mkdir -p $(BIN)
	@unformatted=$$(git ls-files -z -co --exclude-standard -- '*.go' | xargs -0 -r gofmt -l); test -z "$$unformatted" || \
		{ echo "$$unformatted"; echo "verify: run gofmt -w on these files" >&2; exit 1; }
	@go vet ./...
	@go test -count=1 ./test/floors/...

.PHONY: clean
clean: ## Remove what was built
	@rm -rf $(BIN)
