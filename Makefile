# labctl's payload (see internal/payload) is built before labctl itself.
PAYLOAD := internal/payload/files
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w'

.PHONY: build payload

build: payload
	go build -o bin/labctl ./cmd/labctl

payload:
	GOOS=linux $(GOBUILD) -o $(PAYLOAD)/labprobe ./cmd/labprobe
	GOOS=wasip1 GOARCH=wasm $(GOBUILD) -o $(PAYLOAD)/labprobe.wasm ./cmd/labprobe
	go run ./internal/payload/pack $(PAYLOAD)/images.tar
