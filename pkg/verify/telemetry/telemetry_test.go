package telemetry

import (
	"context"
	"slices"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// A real request: the names of today are there and those of 2022 are not,
// while the old conventions give the old names for the same request.
func TestSpans(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not matter
	p, err := Kind.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := p.Run(context.Background(), probe.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range p.Outputs() {
		v, ok := set.Get(o.Name)
		if !ok || v.Type != o.Type {
			t.Errorf("%s: got %v, declared %s", o.Name, v, o.Type)
		}
	}
	if len(set) != len(p.Outputs()) {
		t.Errorf("%d values, %d declared", len(set), len(p.Outputs()))
	}
	for _, c := range []struct {
		list, name string
		want       bool
	}{
		{"server.attributes", "network.peer.address", true},
		{"server.attributes", "net.peer.ip", false},
		{"server.attributes", "net.sock.family", false},
		{"server.attributes", "duration", false},
		{"client.attributes", "server.address", true},
		{"client.attributes", "net.peer.ip", false},
		{"client.attributes", "net.host.ip", false},
		{"old.attributes", "net.peer.ip", true},
		{"old.attributes", "net.host.ip", true},
		{"old.attributes", "network.peer.address", false},
		{"span.fields", "start_time_unix_nano", true},
		{"span.fields", "end_time_unix_nano", true},
		{"span.fields", "duration", false},
	} {
		v, _ := set.Get(c.list)
		if list, ok := v.Value.([]string); !ok || slices.Contains(list, c.name) != c.want {
			t.Errorf("%s in %s is %v: %v", c.name, c.list, !c.want, v.Value)
		}
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if set, err := (spans{}).Run(ctx, probe.Environment{}); err == nil {
		t.Errorf("an ended context gave %v", set)
	}
}

func TestParameters(t *testing.T) {
	if _, err := Kind.New([]byte(`{"url":"http://example.org"}`)); err == nil || !strings.Contains(err.Error(), `unknown field "url"`) {
		t.Errorf("error %v", err)
	}
}

func TestRead(t *testing.T) {
	export := func(spans ...*otlp.Span) *collector.ExportTraceServiceRequest {
		return &collector.ExportTraceServiceRequest{ResourceSpans: []*otlp.ResourceSpans{{
			ScopeSpans: []*otlp.ScopeSpans{{Spans: spans}},
		}}}
	}
	attribute := func(key, value string) *common.KeyValue {
		return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
	}
	client := &otlp.Span{Kind: otlp.Span_SPAN_KIND_CLIENT}
	// What an instrumentation with the old names sends: the verdict turns.
	server := &otlp.Span{
		Kind: otlp.Span_SPAN_KIND_SERVER, StartTimeUnixNano: 5, EndTimeUnixNano: 8,
		Attributes: []*common.KeyValue{attribute("net.peer.ip", "127.0.0.1"), attribute("duration", "3ns")},
	}
	for _, c := range []struct {
		name     string
		requests []*collector.ExportTraceServiceRequest
		server   []string
		fails    bool
	}{
		{"apart", []*collector.ExportTraceServiceRequest{export(client), export(server)}, []string{"duration", "net.peer.ip"}, false},
		{"together", []*collector.ExportTraceServiceRequest{export(client, server)}, []string{"duration", "net.peer.ip"}, false},
		{"no server", []*collector.ExportTraceServiceRequest{export(client)}, nil, true},
		{"nothing", nil, nil, true},
		{"backwards", []*collector.ExportTraceServiceRequest{export(client, &otlp.Span{Kind: otlp.Span_SPAN_KIND_SERVER, StartTimeUnixNano: 8, EndTimeUnixNano: 5})}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := read(c.requests)
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if !slices.Equal(r.server, c.server) {
				t.Errorf("got %q", r.server)
			}
			if err == nil && (r.time != 3 || !slices.Contains(r.fields, "attributes")) {
				t.Errorf("time %d, fields %q", r.time, r.fields)
			}
		})
	}
}
