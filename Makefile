# Needs Go, git and make. Everything that is built goes to bin/; nothing is installed.

GO ?= go
# What go test is given, as in: make test TESTFLAGS='-run TestSync -v'
TESTFLAGS ?=
BENCHFLAGS ?= -benchmem

# Where git cannot tell (a tarball, a checkout of another user's), the build goes on without.
VERSION := $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo "v0.0.0-dev$$(git rev-parse --short=7 HEAD 2>/dev/null | sed 's/^/+/')")
BUILDVCS := $(shell git rev-parse -q HEAD >/dev/null 2>&1 || echo -buildvcs=false)
# One set of flags everywhere, so that building, testing and vetting share what was compiled, and what is built is what
# is published: static, and without the tables of a debugger, which are half of a binary and most of the linking. The tag
# leaves gRPC's xDS out of Google's storage client, which sops has for a command that is not here: 13 MB.
TAGS := disable_grpc_modules
FLAGS := -trimpath -tags $(TAGS)
export CGO_ENABLED := 0
LDFLAGS := -s -w -X github.com/kubectl-gitops/kubectl-gitops/pkg/cli.Version=$(VERSION)

PLUGINS := $(sort $(wildcard cmd/kubectl-gitops cmd/kubectl-gitops-*))
UP := bin/devcluster up --

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: plugins devcluster ## Build all of bin/: kubectl-gitops, one binary a plugin, devcluster

.PHONY: plugins
plugins: ## Build bin/kubectl-gitops and one binary a plugin, without the devcluster
	$(GO) build $(FLAGS) $(BUILDVCS) -ldflags '$(LDFLAGS)' -o bin/ $(PLUGINS:%=./%)

.PHONY: devcluster
devcluster: ## Build bin/devcluster; once, then again when what goes into it changes
	@sh cmd/devcluster/build.sh bin/devcluster

# For the demo and the tests: sops, age-keygen and crane, go.mod has their versions; the demo's registry, and the
# reference that it is held to, whose version a module of its own has.
.PHONY: tools
tools:
	$(GO) build $(FLAGS) -ldflags '-s -w' -buildvcs=false -o bin/ github.com/getsops/sops/v3/cmd/sops filippo.io/age/cmd/age-keygen \
		github.com/google/go-containerregistry/cmd/crane ./cmd/release
	$(GO) build $(FLAGS) -ldflags '-s -w' -buildvcs=false -o bin/demo-registry ./testdata/registry

# The reference registry, to which the tests hold their own; a module of its own has its version.
.PHONY: reference-registry
reference-registry:
	cd testdata/distribution && $(GO) build -trimpath -ldflags '-s -w' -buildvcs=false -o '$(CURDIR)/bin/$@' .

# The real krew, for the tests of what is published; a module of its own has its version.
.PHONY: krew
krew:
	cd testdata/krew && $(GO) build -trimpath -ldflags '-s -w' -buildvcs=false -o '$(CURDIR)/bin/' tool

.PHONY: test
test: build tools krew reference-registry ## Run all tests; those that need a cluster get a devcluster
	$(UP) $(GO) test $(FLAGS) -ldflags '-s -w' -timeout 40m $(TESTFLAGS) ./... # go's own 10m is too near for a slow machine
	cd cmd/devcluster && DEVCLUSTER_BIN='$(CURDIR)/bin/devcluster' $(GO) test -trimpath -count=1 $(TESTFLAGS) ./... # the binary is no input that go knows of

.PHONY: lint
lint: ## Check formatting, vet, and that go.mod and go.sum are complete; writes nothing
	@unformatted=$$(find . -name '*.go' -exec gofmt -l {} +) && if [ -n "$$unformatted" ]; then \
		echo "not formatted; run: gofmt -w" $$unformatted; exit 1; fi
	$(GO) vet $(FLAGS) ./...
	$(GO) mod tidy -diff
	cd cmd/devcluster && $(GO) vet -trimpath ./... && $(GO) mod tidy -diff

# The real kustomize, of the version whose libraries render here, to be measured beside.
.PHONY: kustomize
kustomize:
	cd testdata/kustomize && $(GO) build -trimpath -ldflags '-s -w' -buildvcs=false -o '$(CURDIR)/bin/' tool

.PHONY: bench
bench: build tools kustomize ## Run all benchmarks, with a devcluster; writes docs/benchmarks.md; BENCH=full|quick does more or less
	@packages=$$(find plugins pkg cmd -name '*_test.go' ! -path 'cmd/devcluster/*' -exec grep -l '^func Benchmark' {} + | \
		sed 's,^,./,; s,/[^/]*$$,,' | awk '{ print $$0 == "./plugins" ? 0 : 1, $$0 }' | sort -u | cut -d ' ' -f 2); \
	set -x; BENCH_RECORD=1 $(UP) $(GO) test $(FLAGS) -ldflags '-s -w' -timeout 2h -run '^$$' -bench . $(BENCHFLAGS) $$packages

.PHONY: release
release: ## Write dist/ for every platform: archives, checksums, SBOM, manifests; make release VERSION=v0.1.0
	$(GO) run $(FLAGS) -ldflags '-s -w' ./cmd/release -version $(VERSION) -tags $(TAGS)

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: build ## Run every fuzz test for FUZZTIME (30s) each, hold the in-sync proof to a server in tens of thousands of cases, and take away each verb that rbac prints
	@grep -roHE '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' pkg plugins | sed 's,/[^/]*:func , ,' | sort -u | while read -r dir name; do \
		echo "$$dir $$name"; $(GO) test $(FLAGS) -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "./$$dir" || exit 1; done
	PROOF_CASES=10000 $(UP) $(GO) test $(FLAGS) -count=1 -timeout 30m -run TestProofHoldsOnTheServer -v ./plugins
	RBAC_VERBS=1 $(UP) $(GO) test $(FLAGS) -count=1 -timeout 60m -run TestRBACIsTheLeast ./plugins

.PHONY: docs
docs: ## Write docs/reference.md anew from the commands; make test fails when it is stale
	$(GO) test $(FLAGS) -ldflags '-s -w' -count=1 ./plugins -run TestReferenceIsFresh -update

# freeze draws what a terminal gets as an SVG; nothing else needs it.
.PHONY: picture
picture: build tools ## Draw the README's picture anew, from a real run
	@$(UP) sh testdata/picture.sh >bin/picture.ansi
	$(GO) run github.com/charmbracelet/freeze@v0.2.2 --language ansi --window --padding 20 --font.family monospace --font.size 13 \
		--output docs/picture.svg bin/picture.ansi

# Flux's own controllers, and its CLI; modules of their own have their versions. The first build takes minutes. The CLI
# embeds the manifests of a release of Flux, which are not in its module and which plugins do not need.
.PHONY: flux
flux:
	cd testdata/flux && $(GO) build -trimpath -ldflags '-s -w' -buildvcs=false -o '$(CURDIR)/bin/' tool
	cd testdata/fluxcli && $(GO) mod download github.com/fluxcd/flux2/v2 && copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
		cp -r "$$($(GO) list -m -f '{{.Dir}}' github.com/fluxcd/flux2/v2)/." "$$copy" && chmod -R u+w "$$copy" && \
		mkdir -p "$$copy/cmd/flux/manifests" && echo '{}' >"$$copy/cmd/flux/manifests/none.yaml" && \
		cd "$$copy" && $(GO) build $(FLAGS) -ldflags '-s -w' -buildvcs=false -o '$(CURDIR)/bin/flux' ./cmd/flux

SOAK ?= 200
.PHONY: soak
soak: build tools flux ## Hand over to Flux's own controllers and back, then SOAK (200) syncs under faults; SEED=N chooses the same again
	FLUX=1 SOAK='$(SOAK)' SEED='$(SEED)' $(UP) $(GO) test $(FLAGS) -ldflags '-s -w' -count=1 -timeout 60m -run 'TestFlux|TestSoak' -v $(TESTFLAGS) ./plugins

.PHONY: demo
demo: build tools ## Watch a repository become a healthy cluster
	@$(UP) sh testdata/demo.sh

.PHONY: clean
clean: ## Remove what was built; Go's caches and the cached devcluster stay
	rm -rf bin dist
