# The two commands of the README are `make lab` and `make test`.

# labctl's payload (see internal/payload) is built before labctl itself.
PAYLOAD := internal/payload/files
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w'
# The end-to-end tests build a node image from nothing where there is none.
E2E_TIMEOUT := 80m
E2E_PACKAGES := ./e2e ./e2e/k3sbox ./pkg/provision/nodeimage ./pkg/provision/microvm ./pkg/docs/apiserver ./pkg/docs/crds ./pkg/docs/judge ./pkg/docs/validate

.PHONY: lab test build payload doctor unit fuzz e2e lint bench bench-docs cross docs-accuracy

lab: doctor
	bin/labctl run --all --keep

test: doctor unit fuzz e2e

build: payload
	$(GOBUILD) -o bin/labctl ./cmd/labctl

payload:
	GOOS=linux $(GOBUILD) -o $(PAYLOAD)/labprobe ./cmd/labprobe
	GOOS=wasip1 GOARCH=wasm $(GOBUILD) -o $(PAYLOAD)/labprobe.wasm ./cmd/labprobe
	go run ./internal/payload/pack $(PAYLOAD)
	go run ./internal/payload/packcrds images/crds $(PAYLOAD)/crds.tar.zst

# labctl for another architecture carries that architecture's labprobe: the
# overlay puts it in place of this machine's (go help build, -overlay).
ARCH := arm64
CROSS = bin/linux-$(ARCH)
cross: payload
	GOOS=linux GOARCH=$(ARCH) $(GOBUILD) -o $(CROSS)/labprobe ./cmd/labprobe
	printf '{"Replace": {"%s": "%s"}}\n' $(CURDIR)/$(PAYLOAD)/labprobe $(CURDIR)/$(CROSS)/labprobe >$(CROSS)/overlay.json
	GOOS=linux GOARCH=$(ARCH) $(GOBUILD) -overlay $(CROSS)/overlay.json -o $(CROSS)/labctl ./cmd/labctl
	@grep -qaF -e "$$(go tool buildid $(CROSS)/labprobe)" $(CROSS)/labctl || { echo "$(CROSS)/labctl carries another labprobe"; exit 1; }

doctor: build
	bin/labctl doctor --fix

# All packages are compiled side by side first; then tests run one package
# after another, because some measure what the machine does.
unit: payload
	go test -run '^$$' ./... >/dev/null
	go test -p 1 ./...

# What reads documents of strangers is fed with mutations of its seeds.
# A count, as go test can fail a target at a time limit that passes while it runs.
FUZZTIME := 5000x
fuzz: payload
	@set -e; for target in extract/FuzzMarkdown extract/FuzzShell extract/FuzzMarks yamldoc/FuzzParse classify/FuzzClassify; do \
		go test -run '^$$' -fuzz "^$${target#*/}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./pkg/docs/$${target%/*}"; \
	done

# ./e2e takes most of the time and mostly waits; the other packages, whose
# boxes and servers are their own, run beside it one after the other.
e2e: build
	go test -tags e2e -count=1 -p 2 -timeout $(E2E_TIMEOUT) $(E2E_PACKAGES)

lint:
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

bench: doctor
	go run ./internal/bench

# The schema phase of labctl docs validate beside kubeconform: no cluster.
bench-docs: payload
	go run ./internal/bench -part docs

# What labctl says of a tree of documents beside a map of it made by hand; both
# lie outside of this repository.
DOCS := $(or $(LABCTL_DOCS),../shared/corpus)
docs-accuracy: build
	@test -d $(DOCS) || { echo "docs-accuracy: there is no $(DOCS); LABCTL_DOCS names a tree of documents, LABCTL_CORPUS_MAP its map"; exit 2; }
	bin/labctl docs validate --fail-on never -o json $(DOCS) | LABCTL_DOCS=$(DOCS) go run ./internal/docsaccuracy -report -
