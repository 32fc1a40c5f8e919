package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	// The last conventions before the net.sock.* names, to show what changed.
	conventions2022 "go.opentelemetry.io/otel/semconv/v1.12.0"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exchange sends one HTTP request through OpenTelemetry's instrumentation of
// net/http, and returns what its exporter sent to a collector on the
// loopback, and the attribute names that the conventions of 2022 give the
// same request.
func exchange(ctx context.Context) (received []*collector.ExportTraceServiceRequest, old []string, err error) {
	var spans inbox
	collectorAddr, stopCollector, err := serve(ctx, &spans)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stopCollector()) }()

	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(collectorAddr), otlptracehttp.WithInsecure(), otlptracehttp.WithURLPath("/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("OTLP exporter: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithSampler(trace.AlwaysSample()), trace.WithSyncer(exporter))
	defer func() { err = errors.Join(err, provider.Shutdown(context.WithoutCancel(ctx))) }()
	options := []otelhttp.Option{
		otelhttp.WithTracerProvider(provider),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
	}

	app := otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, a := range conventions2022.NetAttributesFromHTTPRequest("tcp", r) {
			old = append(old, string(a.Key))
		}
		w.WriteHeader(http.StatusNoContent)
	}), "app", options...)
	appAddr, stopApp, err := serve(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	// A plain transport: a proxy of the environment would be another peer.
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: otelhttp.NewTransport(transport, options...)}
	err = get(ctx, &client, "http://"+appAddr+"/")
	if err := errors.Join(err, stopApp(), provider.ForceFlush(ctx)); err != nil {
		return nil, nil, err
	}
	slices.Sort(old)
	return spans.all(), old, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("request to the instrumented server: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("request to the instrumented server: %w", err)
	}
	return nil
}

// serve serves HTTP on a free port of the loopback until stop, which waits
// for requests under way.
func serve(ctx context.Context, h http.Handler) (address string, stop func() error, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen on the loopback: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: limit}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return l.Addr().String(), func() error {
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // requests still under way end with the run
			return fmt.Errorf("end the server on the loopback: %w", err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on the loopback: %w", err)
		}
		return nil
	}, nil
}

// inbox is a collector that keeps what it gets (OTLP/HTTP, binary encoding).
type inbox struct {
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
}

// maxExport is far more than two spans take.
const maxExport = 1 << 20

func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExport))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	i.requests = append(i.requests, &request)
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty body is an empty response
}

func (i *inbox) all() []*collector.ExportTraceServiceRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.requests)
}
