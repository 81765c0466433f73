# Parley. `make run` starts it, `make test` proves it; `make help` lists the rest.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUF := .tools/buf/node_modules/.bin/buf
LINT := .tools/bin/golangci-lint

.PHONY: help build run test lint proto check-generated clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

build: ## one static binary at bin/parley
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/parley ./cmd/parley

run: build ## starts a server on SQLite in ./data
	./bin/parley serve --listen localhost:8080 --data-dir data

test: ## vet and every test with the race detector
	$(GO) vet ./...
	$(GO) test -race ./...

$(LINT):
	GOBIN=$(CURDIR)/.tools/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

lint: $(LINT) ## formatting, lint and import rules
	$(LINT) run ./...

$(BUF):
	mkdir -p .tools/buf && cd .tools/buf && npm init -y >/dev/null && npm install --ignore-scripts --no-audit --no-fund @bufbuild/buf@1.75.0

proto: $(BUF) ## generates code from proto/parley/v1
	$(BUF) lint
	$(BUF) generate

check-generated: proto ## fails when generated code is not up to date
	git diff --exit-code -- proto/parleyv1

clean: ## removes what was built
	rm -rf bin .tools
