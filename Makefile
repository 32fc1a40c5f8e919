# The two commands of the README are `make lab` and `make test`.

# labctl's payload (see internal/payload) is built before labctl itself.
PAYLOAD := internal/payload/files
# The compiler collects garbage less often: GOMEMLIMIT bounds what a process takes.
FAST := GOGC=800 GOMEMLIMIT=2GiB
GOBUILD := $(FAST) CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w'
# The end-to-end tests build a node image from nothing where there is none.
E2E_TIMEOUT := 80m
E2E_PACKAGES := ./e2e/k3sbox ./pkg/provision/nodeimage ./pkg/provision/microvm ./pkg/docs/apiserver ./pkg/docs/crds ./pkg/docs/judge ./pkg/docs/validate

.PHONY: lab test build payload doctor unit fuzz e2e e2e-kind e2e-beside lint bench bench-docs cross digests docs-accuracy

lab: doctor
	bin/labctl run --all --keep

# Two streams, as most of ./e2e is waiting: the tests on clusters of kind, and
# beside them all others, one after another. They end earlier, so that TestLabs,
# the last of ./e2e, has the machine for itself.
test: doctor
	$(MAKE) -j2 WHOLE=1 e2e-kind e2e-beside

ifdef WHOLE
fuzz: | unit
e2e-beside: | fuzz
endif

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
	$(FAST) go test -run '^$$' ./... >/dev/null
	go test -p 1 ./...

# What reads documents of strangers is fed with mutations of its seeds.
# A count, as go test can fail a target at a time limit that passes while it runs.
FUZZTIME := 5000x
fuzz: payload
	@set -e; for target in extract/FuzzMarkdown extract/FuzzShell extract/FuzzMarks yamldoc/FuzzParse classify/FuzzClassify; do \
		go test -run '^$$' -fuzz "^$${target#*/}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./pkg/docs/$${target%/*}"; \
	done

e2e:
	$(MAKE) -j2 e2e-kind e2e-beside

# E2EFLAGS=-v make e2e tells of every test, and how long it took.
E2E = go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) $(E2EFLAGS)
e2e-kind: build
	$(E2E) -skip '^TestK3s' ./e2e

e2e-beside: build
	$(E2E) -p 1 $(E2E_PACKAGES); code=$$?; $(E2E) -run '^TestK3s' ./e2e && exit $$code

# After a change below images/: the digests by which labctl cache pull takes what
# others have built.
digests: build
	rm -rf bin/cache
	{ grep '^#' images/digests.yaml && bin/labctl cache push oci:bin/cache; } >bin/digests.yaml
	mv bin/digests.yaml images/digests.yaml
	rm -r bin/cache

lint:
	cd tools && $(FAST) go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(FAST) bin/golangci-lint run ./...

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
