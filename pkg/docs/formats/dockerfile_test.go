package formats

import "testing"

func TestDockerfile(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "dockerfile", content: `
# syntax=docker/dockerfile:1
ARG VERSION=1.26
FROM golang:${VERSION} AS build
WORKDIR /src
RUN --mount=type=cache,target=/go/pkg go build -o /shop ./cmd/shop
RUN <<EOF
echo a
EOF
FROM scratch
COPY --from=build /shop /shop
ENTRYPOINT ["/shop"]
`},
		{name: "unknown instruction", language: "dockerfile", content: "FROM alpine:3\nCOPPY a b\n", want: []string{"dockerfile-invalid 2:1"}, message: "unknown instruction: COPPY"},
		{name: "missing argument", language: "dockerfile", content: "FROM alpine:3\n  COPY a\n", want: []string{"dockerfile-invalid 2:3"}, message: "COPY requires"},
		{name: "no image by that name", language: "dockerfile", content: "FROM Shop:1\n", want: []string{"dockerfile-invalid 1:1"}, message: "lowercase"},
		{name: "an earlier stage", language: "dockerfile", content: "FROM alpine:3 AS base\nFROM base\n"},
		{name: "placeholder", language: "dockerfile", content: "FROM <your image>\n"},
		{name: "part", language: "dockerfile", content: "COPY a /a\nRUN make\n"},
		{name: "wrong part", language: "dockerfile", content: "COPY a /a\nRUNN make\n", want: []string{"dockerfile-invalid 2:1"}},
		{name: "left out", language: "dockerfile", content: "FROM alpine:3\n...\n"},
		{name: "syntax", language: "dockerfile", content: "ADD [OPTIONS] a b\n"},
		{name: "Go's pattern is nothing left out", language: "dockerfile", content: "FROM golang\nRUN go build ./...\nRUNN a\n", want: []string{"dockerfile-invalid 3:1"}},
		{name: "warning", language: "dockerfile", content: "FROM alpine:3 as base\nMAINTAINER me\n", want: []string{"dockerfile-lint 1:1", "dockerfile-lint 2:1"}, message: "FromAsCasing"},
		{name: "comments alone", language: "dockerfile", content: "# nothing\n"},
		{name: "shell", language: "bash", content: "RUNN\n"},
	})
}
