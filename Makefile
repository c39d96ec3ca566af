# Cuppa. `make help` lists what there is.

BIN     := bin/cuppa
HELPER  := engine/helper/dist/cuppa-helper
HEAVY   := cmd/cuppa/dist/cuppa-heavy.json
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFILES := $(shell find . -name '*.go' -not -path './examples/*' -not -path './tmpdeps/*' -not -path '*/.*/*' -not -name '*_test.go')
EXAMPLE := examples/dockercoins
LDFLAGS  = -s -w -X main.version=$(VERSION) -X k8s.io/component-base/version.gitVersion=v1.37.2+cuppa

.DEFAULT_GOAL := help
.PHONY: help build test race lint bench demo demo-down generate setup setup-test setup-conformance conformance clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: setup $(BIN) ## build bin/cuppa (one static file)

# The helper links libcontainer, and so needs cgo; it is small, because it runs beside every container. It is embedded in cuppa.
$(HELPER): $(GOFILES) go.mod go.sum
	cmd/cuppa-helper/build.sh $@

# The heavy program (server, node, builder, kubectl) is embedded in cuppa, compressed. What only the front program has does not make it anew.
FRONT_ONLY := ./cmd/cuppa/% ./cli/cli.go ./cli/root.go ./cli/compose/% ./cli/image/%
$(HEAVY): $(HELPER) $(filter-out $(FRONT_ONLY),$(GOFILES)) go.mod go.sum
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o .cache/build/cuppa-heavy ./cmd/cuppa-heavy
	CGO_ENABLED=0 go run ./internal/carry/pack .cache/build/cuppa-heavy $(dir $(HEAVY))

# The front program: what people start.
$(BIN): $(HEAVY) $(GOFILES) cmd/cuppa/build.sh cmd/cuppa/_overlay/schema.go
	@mkdir -p bin
	cmd/cuppa/build.sh $@ '$(LDFLAGS)'

setup: ; @scripts/setup build

setup-test: ; @scripts/setup test

setup-conformance: ; @scripts/setup conformance

demo: build ## start a node on this machine and run DockerCoins on it
	@scripts/demo up

demo-down: ## end what demo began, and remove all of it
	@scripts/demo down

# The packages that link libcontainer, and so need cgo; all others are built without, as the program is.
CGO := ./cmd/cuppa-helper ./engine/supervisor/server
PURE = $$(CGO_ENABLED=0 go list -e ./... | grep -v -e /cmd/cuppa-helper -e /engine/supervisor/server)

test: setup-test $(BIN) ## run every test; those that need root are skipped without it, and counted at the end
	CGO_ENABLED=0 go vet $(PURE)
	CGO_ENABLED=1 go vet $(CGO)
	go run ./test/report CGO_ENABLED=0 -timeout 20m $(PURE) -- CGO_ENABLED=1 -timeout 20m $(CGO) -- CGO_ENABLED=0 -C $(EXAMPLE) ./...

# What the race detector cannot help: test/e2e drives bin/cuppa, which is built without it; test/house and test/report start the go command
# and read files; engine/build runs BuildKit, which has races of its own; examples are a module of their own, and the generated definitions have no
# code of ours.
UNRACED := /test/e2e$$|/engine/build$$|/test/house$$|/test/report$$|/openapi/definitions$$
RACED = $$(CGO_ENABLED=1 go list -e ./... | grep -v -E '$(UNRACED)')

race: setup-test $(HELPER) ## run the tests under the race detector, but for the few that it cannot help
	go run ./test/report CGO_ENABLED=1 -race -timeout 40m $(RACED)

lint: ## run the linter
	go tool staticcheck ./...

generate: ## make the generated files again
	go generate ./...

bench: $(BIN) ## measure the budgets of docs/BUDGETS.md on this machine
	go run ./test/bench

# Which cases: FOCUS and SKIP are regular expressions on their text ($$ is written $$$$); PROCS is how many run at once.
FOCUS =
SKIP  =
PROCS = 12

conformance: build setup-conformance ## run Kubernetes' conformance suite and write docs/CONFORMANCE.md (FOCUS=, SKIP=, PROCS=)
	go run ./test/conformance --focus '$(FOCUS)' --skip '$(SKIP)' --procs $(PROCS)

clean: ## remove what was built
	rm -rf bin .cache/build $(HELPER) $(HELPER).sum $(HEAVY) $(HEAVY:.json=.zst)
	$(MAKE) -C $(EXAMPLE) clean
