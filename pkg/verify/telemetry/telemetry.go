// Package telemetry is the probe family that looks at what OpenTelemetry
// really sends: an HTTP request between an instrumented client and an
// instrumented server, exported over OTLP to a collector of the probe's own,
// and read from the bytes that arrive there. It needs no cluster; everything
// is on the loopback of the machine that labctl runs on.
package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is the family. It has no parameters.
var Kind = probe.Kind{
	Name: "telemetry",
	Doc:  "the spans of an instrumented HTTP request, as they arrive over OTLP",
	New: func(params []byte) (probe.Probe, error) {
		var none struct{}
		if err := probe.Decode(params, &none); err != nil {
			return nil, err
		}
		return spans{}, nil
	},
}

type spans struct{}

var outputs = []evidence.Output{
	{Name: "client.attributes", Type: evidence.List, Doc: "names of the client span's attributes, sorted"},
	{Name: "server.attributes", Type: evidence.List, Doc: "names of the server span's attributes, sorted"},
	{Name: "span.fields", Type: evidence.List, Doc: "fields of the server span's OTLP message that are set, sorted"},
	{Name: "span.time", Type: evidence.Duration, Doc: "end_time_unix_nano minus start_time_unix_nano of the server span: where its duration is"},
	{Name: "resource.attributes", Type: evidence.List, Doc: "names of the resource's attributes, sorted"},
	{Name: "peer", Type: evidence.String, Doc: "network.peer.address of the server span, empty where it has none"},
	{Name: "old.attributes", Type: evidence.List, Doc: "names that the semantic conventions 1.12 of 2022 gave the same request, sorted"},
	{Name: "instrumentation", Type: evidence.String, Doc: "module and version of the instrumentation"},
}

// Outputs implements probe.Probe.
func (spans) Outputs() []evidence.Output { return outputs }

// limit is far more than a request on the loopback takes.
const limit = 30 * time.Second

// Run implements probe.Probe.
func (spans) Run(ctx context.Context, _ probe.Environment) (evidence.Set, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
	defer cancel()
	received, old, err := exchange(ctx)
	if err != nil {
		return nil, fmt.Errorf("telemetry of an HTTP request: %w", err)
	}
	seen, err := read(received)
	if err != nil {
		return nil, fmt.Errorf("telemetry of an HTTP request: %w", err)
	}
	wire := evidence.Source{Kind: "program", Ref: "OTLP/HTTP export request, opentelemetry.proto.trace.v1"}
	code := evidence.Source{Kind: "program", Ref: "go.opentelemetry.io/otel/semconv/v1.12.0"}
	return evidence.Set{
		{Name: "client.attributes", Type: evidence.List, Value: seen.client, Source: wire},
		{Name: "server.attributes", Type: evidence.List, Value: seen.server, Source: wire},
		{Name: "span.fields", Type: evidence.List, Value: seen.fields, Source: wire},
		{Name: "span.time", Type: evidence.Duration, Value: seen.time, Source: wire},
		{Name: "resource.attributes", Type: evidence.List, Value: seen.resource, Source: wire},
		{Name: "peer", Type: evidence.String, Value: seen.peer, Source: wire},
		{Name: "old.attributes", Type: evidence.List, Value: old, Source: code},
		{Name: "instrumentation", Type: evidence.String, Value: otelhttp.ScopeName + " " + otelhttp.Version, Source: wire},
	}, nil
}
