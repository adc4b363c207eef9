# Everything a fresh Debian or Ubuntu machine needs: `make demo` and `make test`.
# Both install what is missing with apt-get, so they need root the first time; the test machine needs root every time.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO          ?= $(CURDIR)/.ci/go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
LDFLAGS     := -s -w -X main.version=$(VERSION)

.PHONY: all build demo test race crash-matrix lint fmt deps fuzz clean
all: build

build: deps ## the two programs, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/sendense-agent ./cmd/sendensectl

demo: build ## back up a VM of three disks through real systemd and qemu-nbd, and prove the copy
	CGO_ENABLED=0 $(GO) build -o bin/ ./agent/sna/snatest/snasim ./units/systemdtest/testbed
	@packaging/demo/run

test: deps ## every test, on real parts, with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...

# MATRIX=all kills at every time that a point is reached, not only at the first; SEED repeats the random part.
MATRIX ?= points
KILLS  ?= 1000
SEED   ?= 0
crash-matrix: deps ## kill the daemon at every point of every operation, and at KILLS random moments
	cd cmd/sendense-agent/crashtest && $(GO) vet -tags failpoints ../../../... && \
	$(GO) test -count=1 -timeout 3h -parallel 3 -matrix $(MATRIX) -kills $(KILLS) -seed $(SEED)

lint: deps ## vet, staticcheck, gofumpt, govulncheck
	@.ci/lint "$(GO)" $(STATICCHECK) $(GOFUMPT) $(GOVULNCHECK)

fmt:
	$(GO) run $(GOFUMPT) -w $$(git ls-files '*.go')

FUZZTIME ?= 1m
fuzz: deps ## every fuzz target for FUZZTIME
	@.ci/fuzz "$(GO)" $(FUZZTIME)

deps: ## install what is missing
	@.ci/deps

clean:
	rm -rf bin dist
