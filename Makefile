# Parley. `make run` starts it, `make test` proves it; `make help` lists the rest.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUF := .tools/buf/node_modules/.bin/buf
LINT := .tools/bin/golangci-lint
NPM := npm --prefix web --silent

.PHONY: help build program app run test test-go test-web test-browsers soak bench lint vulncheck proto check-generated clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

PROGRAM := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/parley ./cmd/parley

build: app ## one static binary with the browser app at bin/parley
	$(PROGRAM)

program: ## the binary alone, with whatever app was built before
	$(PROGRAM)

web/node_modules: web/package.json web/package-lock.json
	npm ci --prefix web --ignore-scripts --no-audit --no-fund
	@touch $@

app: web/node_modules ## builds the browser app into web/dist
	$(NPM) run build

run: build ## starts a server on SQLite in ./data and prints a link for the first account
	./bin/parley serve --listen localhost:8080 --data-dir data

test: ## every test; installs what it needs on Debian
	./scripts/install-deps
	$(MAKE) test-go test-web test-browsers

test-go: ## vet and the Go tests with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...

test-web: web/node_modules program ## types, formatting and tests of the browser app without a browser
	$(NPM) run check
	$(NPM) run lint
	$(NPM) test

test-browsers: build ## the program in chromium and firefox
	$(NPM) run e2e

SOAK ?= 10000

soak: ## SOAK messages while server, peers and links are killed at random; says what it did (PARLEY_SOAK_SEED repeats one)
	PARLEY_SOAK=$(SOAK) $(GO) test -count 1 -v -timeout 60m -run '^TestNeverLost$$' ./cmd/parley

bench: ## measures posts, delivery, memory and links in some minutes, and prints a table
	GO=$(GO) ./scripts/bench

$(LINT):
	GOBIN=$(CURDIR)/.tools/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

lint: $(LINT) ## formatting, lint and import rules of the Go code
	$(LINT) run ./...

VULNDB ?= https://vuln.go.dev

vulncheck: ## known holes in what the program calls; VULNDB=file:///DIR names a copy of the database
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 -db $(VULNDB) ./...

$(BUF):
	mkdir -p .tools/buf && cd .tools/buf && npm init -y >/dev/null && npm install --ignore-scripts --no-audit --no-fund @bufbuild/buf@1.75.0

proto: $(BUF) web/node_modules ## generates code from proto/parley/v1
	$(BUF) lint
	$(BUF) generate

check-generated: proto ## fails when generated code is not up to date
	git diff --exit-code -- proto/parleyv1 web/src/wire/gen

clean: ## removes what was built
	rm -rf bin .tools web/dist/assets web/dist/*.html web/node_modules
