# Everything a fresh Debian or Ubuntu machine needs: `make demo` and `make test`.
# Both install what is missing with apt-get, so they need root the first time; the test machine needs root every time.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO          ?= $(CURDIR)/.ci/go
# Found once: a file that changes during a long target must not change it.
VERSION     ?= $(shell packaging/version 2>/dev/null || echo dev)
VERSION     := $(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
LDFLAGS     := -s -w -X main.version=$(VERSION)

.PHONY: all build man completions demo demo-check demo-page test docs race crash-matrix fault-matrix power-matrix month lint fmt deps fuzz clean
all: build

build: deps ## the two programs, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/sendense-agent ./cmd/sendensectl

man: ## the manual pages, in dist/man
	$(GO) run -ldflags '$(LDFLAGS)' ./cmd/sendensectl man dist/man
	$(GO) run -ldflags '$(LDFLAGS)' ./cmd/sendense-agent man dist/man

completions: ## completion for bash, zsh and fish, in dist/completions
	mkdir -p dist/completions/bash dist/completions/zsh dist/completions/fish
	for program in sendensectl sendense-agent; do \
		$(GO) run ./cmd/$$program completion bash >dist/completions/bash/$$program && \
		$(GO) run ./cmd/$$program completion zsh >dist/completions/zsh/_$$program && \
		$(GO) run ./cmd/$$program completion fish >dist/completions/fish/$$program.fish || exit; \
	done

demo: build ## back up a VM of three disks through real systemd and qemu-nbd, and prove the copy
	CGO_ENABLED=0 $(GO) build -o bin/ ./agent/sna/snatest/snasim ./units/systemdtest/testbed
	@packaging/demo/run | tee bin/demo.out

demo-check: demo ## the demo; docs/demo.md must show its commands and its output
	@packaging/demo/compare bin/demo.out

demo-page: ## docs/demo.md, from what make demo prints
	$(MAKE) --no-print-directory demo >bin/demo.page
	packaging/demo/document <bin/demo.page >docs/demo.md

# A program with the race detector waits a second at its exit unless it is told otherwise.
test: export GORACE ?= atexit_sleep_ms=10
# Tests wait for systemd and for deadlines about as long as they compute, so four packages run on two cores. Those that take longest come
# first, so that none of them runs alone at the end. "make lint" has go vet.
test: deps ## every test, on real parts, with the race detector
	$(GO) test -race -p $$(($$(nproc) * 2)) -timeout 40m ./cmd/sendense-agent/... ./agent/... ./...

# MATRIX=cover kills once at each point, in the first operation that reaches it; points: at each point of each operation; all: each time
# that a point is reached. SEED repeats the random part.
MATRIX ?= points
KILLS  ?= 2000
SEED   ?= 0
crash-matrix: deps ## kill the daemon at every point of every operation, and at KILLS random moments
	cd cmd/sendense-agent/crashtest && $(GO) vet -tags failpoints ../../../... && \
	$(GO) test -count=1 -timeout 3h -parallel 3 -skip 'Fault|Upgrade' -matrix $(MATRIX) -kills $(KILLS) -seed $(SEED)

fault-matrix: deps ## break one thing around the daemon at a time, and check what is left
	cd cmd/sendense-agent/crashtest && $(GO) test -count=1 -timeout 1h -parallel 4 -run 'Fault|Upgrade' -all-faults

month: deps ## simulate a month of scheduled backups of 300 VMs, with failures
	$(GO) test -count=1 ./agent/schedule -run '^TestMonth$$' -v -estate 300

# LOTS random losses after each operation; STARTS=1 starts a daemon on every kind of state, STARTS=n on one of n.
LOTS   ?= 6
STARTS ?= 1
power-matrix: deps ## lose power at every moment of every operation, and check what a disk may keep
	cd cmd/sendense-agent/crashtest && $(GO) vet ./... && \
	$(GO) test -count=1 -timeout 3h -parallel 3 -run 'TestPower' -power all -lots $(LOTS) -starts $(STARTS) -seed $(SEED)

# One run of everything takes about half an hour on an idle machine. BENCH narrows it: BENCH='-only start -rounds 3'.
BENCH ?=
bench: bench-programs ## compare the agent with its alternatives, and write docs/benchmarks.md
	@.ci/deps bench
	bin/bench -out docs/benchmarks.md $(BENCH)

bench-check: bench-programs ## check the ratios that do not depend on the load of the machine against their limits
	@.ci/deps bench
	bin/bench -check -rounds 9 -mib 64

SOAK ?= 10m
soak: bench-programs ## start, finish and cancel backups for SOAK, and check that nothing grows
	bin/bench -soak $(SOAK)

.PHONY: bench bench-check soak bench-programs
bench-programs: build
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./agent/sna/snatest/snasim ./cmd/internal/bench

lint: deps ## vet, staticcheck, gofumpt, govulncheck
	@.ci/lint "$(GO)" $(STATICCHECK) $(GOFUMPT) $(GOVULNCHECK)

fmt:
	$(GO) run $(GOFUMPT) -w $$(git ls-files '*.go')

FUZZTIME ?= 1m
fuzz: deps ## every fuzz target for FUZZTIME
	@.ci/fuzz "$(GO)" $(FUZZTIME)

docs: ## write the references: docs/rpc.md from the method table, docs/configuration.md from default.toml
	$(GO) test -count=1 -run '^(TestReference|TestEveryReasonIsExplained)$$' ./rpc/server ./agent/config -update

# Every time stamp in a package is that of the commit.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

.PHONY: package package-test
package: deps man completions ## .deb and .rpm for amd64 and arm64, in dist
	packaging/build "$(GO)" $(NFPM) '$(VERSION)'

package-test: package ## lint the packages, build them twice, and install, use, upgrade and remove them on a plain distribution
	CGO_ENABLED=0 $(GO) build -o bin/ ./agent/sna/snatest/snasim ./units/systemdtest/testbed
	@.ci/deps packages
	@packaging/test/artifacts "$(GO)" '$(VERSION)'
	@packaging/test/run "$(GO)" $(NFPM) '$(VERSION)'

deps: ## install what is missing
	@.ci/deps

clean: ## remove what was built, also the programs that tests keep in the user's cache
	rm -rf bin dist "$${XDG_CACHE_HOME:-$$HOME/.cache}/sendense-agent/test-programs"
