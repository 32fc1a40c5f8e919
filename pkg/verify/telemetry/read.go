package telemetry

import (
	"fmt"
	"slices"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// report is what the spans of one request show.
type report struct {
	client, server, resource []string // attribute names
	fields                   []string
	time                     time.Duration
	peer                     string
}

// read finds the client's and the server's span in what a collector got.
func read(requests []*collector.ExportTraceServiceRequest) (report, error) {
	var r report
	var client, server *otlp.Span
	for _, request := range requests {
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					switch span.Kind {
					case otlp.Span_SPAN_KIND_CLIENT:
						client = span
					case otlp.Span_SPAN_KIND_SERVER:
						server = span
						r.resource = names(resource.GetResource().GetAttributes())
					}
				}
			}
		}
	}
	if client == nil || server == nil {
		return report{}, fmt.Errorf("%d exports hold a client span: %v, a server span: %v; want both", len(requests), client != nil, server != nil)
	}
	if server.EndTimeUnixNano < server.StartTimeUnixNano {
		return report{}, fmt.Errorf("the server span ends (%d) before it starts (%d)", server.EndTimeUnixNano, server.StartTimeUnixNano)
	}
	r.client, r.server = names(client.Attributes), names(server.Attributes)
	r.time = time.Duration(server.EndTimeUnixNano - server.StartTimeUnixNano)
	for _, a := range server.Attributes {
		if a.Key == "network.peer.address" {
			r.peer = a.Value.GetStringValue()
		}
	}
	server.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		r.fields = append(r.fields, string(f.Name()))
		return true
	})
	slices.Sort(r.fields)
	return r, nil
}

func names(attributes []*common.KeyValue) []string {
	list := make([]string, len(attributes))
	for i, a := range attributes {
		list[i] = a.Key
	}
	slices.Sort(list)
	return list
}
