package labprobe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// HTTP/1.1 with one request a connection (RFC 9112), over net/textproto:
// net/http with its TLS would make labprobe half as big again, and labprobe
// is what start times and memory are measured with.

// greeting is what serve says at every path that isn't one of its states.
type greeting struct {
	Server string `json:"server"` // host name, which in a Pod is the Pod's name
	Peer   string `json:"peer"`   // the client's address
	Host   string `json:"host"`   // the header of that name
	Path   string `json:"path"`
}

// exchangeTimeout ends connections that say nothing.
const exchangeTimeout = 10 * time.Second

// httpServer is serve's state.
type httpServer struct {
	name          string
	unready, dead atomic.Bool
	requests      atomic.Int64
}

func runServe(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseServe(args)
	if err != nil {
		return nil, err
	}
	outputs, err := serveOutputs(args)
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(p.port)))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.length)
	defer cancel()
	s := &httpServer{name: name}
	s.unready.Store(p.unready)
	if err := s.serve(ctx, l); err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("requests", s.requests.Load(), "program", "accept")
	return r.result()
}

// serve answers until ctx ends, which is how it is meant to end.
func (s *httpServer) serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer func() { _ = l.Close() }()
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		clients.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			_ = s.exchange(conn) // a client that goes away is the client's matter
		})
	}
}

func (s *httpServer) exchange(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	r := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, 16<<10)))
	line, err := r.ReadLine()
	if err != nil {
		return err
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return err
	}
	words := strings.Fields(line)
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") {
		return respond(conn, "400 Bad Request", "want an HTTP/1 request\n")
	}
	s.requests.Add(1)
	status, body := s.answer(words[1], header.Get("Host"), conn.RemoteAddr())
	return respond(conn, status, body)
}

// answer gives the status line and the body for a path.
func (s *httpServer) answer(path, host string, peer net.Addr) (status, body string) {
	state := func(bad bool, status string) (string, string) {
		if bad {
			return status, "no\n"
		}
		return "200 OK", "yes\n"
	}
	switch path {
	case "/readyz":
		return state(s.unready.Load(), "503 Service Unavailable")
	case "/livez":
		return state(s.dead.Load(), "500 Internal Server Error")
	case "/ready":
		s.unready.Store(false)
	case "/unready":
		s.unready.Store(true)
	case "/alive":
		s.dead.Store(false)
	case "/dead":
		s.dead.Store(true)
	}
	address, _, err := net.SplitHostPort(peer.String())
	if err != nil {
		address = peer.String()
	}
	b, err := json.Marshal(greeting{s.name, strings.TrimPrefix(address, "::ffff:"), host, path})
	if err != nil { // four strings always are JSON
		return "500 Internal Server Error", err.Error() + "\n"
	}
	return "200 OK", string(b) + "\n"
}

func respond(w io.Writer, status, body string) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
	return err
}

// answered is one request of get.
type answered struct {
	status       int
	body         string
	local        string
	server, peer string // empty where it wasn't serve that answered
	time         time.Duration
}

func runGet(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseGet(args)
	if err != nil {
		return nil, err
	}
	outputs, err := getOutputs(args)
	if err != nil {
		return nil, err
	}
	var all []answered
	var failure string
	rounds, after, err := p.until(ctx, func() bool {
		all, failure = p.round(ctx)
		return p.wanted(all, failure)
	})
	if err != nil {
		return nil, err
	}
	return getRecord(outputs, p, all, failure, rounds, after)
}

// until runs a round until it is as wanted or the wait is over. At least one
// is run.
func (p patience) until(ctx context.Context, round func() bool) (rounds int, after time.Duration, err error) {
	start := time.Now()
	for {
		rounds++
		done := round()
		after = time.Since(start)
		if err := ctx.Err(); err != nil {
			return rounds, after, err
		}
		if done || after >= p.wait {
			return rounds, after, nil
		}
		wait(ctx, 100*time.Millisecond)
	}
}

// round makes the requests of a round. Where a round only has to fail it
// ends with the first that does.
func (p getParams) round(ctx context.Context) (all []answered, failure string) {
	for range p.count {
		a, err := p.request(ctx)
		if err == nil {
			all = append(all, a)
			continue
		}
		if failure == "" {
			failure = failureName(err)
		}
		if p.want == "ok" && p.wait > 0 || ctx.Err() != nil {
			break
		}
	}
	return all, failure
}

// wanted says whether a round is what --want and --servers name.
func (p getParams) wanted(all []answered, failure string) bool {
	if p.want == "fail" {
		return !p.ok(all, failure)
	}
	return p.ok(all, failure) && (p.servers == 0 || len(namesIn(all, answered.serverName)) == p.servers)
}

func (p getParams) ok(all []answered, failure string) bool {
	return failure == "" && len(all) == p.count &&
		!slices.ContainsFunc(all, func(a answered) bool { return a.status < 200 || a.status > 299 })
}

func (a answered) serverName() string { return a.server }

// namesIn gives what f says of the answers, each once and in order.
func namesIn(all []answered, f func(answered) string) []string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = f(a)
	}
	return distinct(texts)
}

// request makes one GET.
func (p getParams) request(ctx context.Context) (a answered, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	start := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return a, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(start.Add(p.timeout)); err != nil {
		return a, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUser-Agent: labprobe\r\n\r\n", p.path, p.host); err != nil {
		return a, err
	}
	if a.status, a.body, err = readResponse(conn); err != nil {
		return a, err
	}
	a.time = time.Since(start)
	if a.local, _, err = net.SplitHostPort(conn.LocalAddr().String()); err != nil {
		return a, err
	}
	var g greeting
	if json.Unmarshal([]byte(a.body), &g) == nil {
		a.server, a.peer = g.Server, g.Peer
	}
	return a, nil
}

// readResponse reads a response to the connection's end; of the body 4 KiB.
// A body in chunks is given as it comes.
func readResponse(conn io.Reader) (status int, body string, err error) {
	buffered := bufio.NewReader(io.LimitReader(conn, 1<<20))
	r := textproto.NewReader(buffered)
	line, err := r.ReadLine()
	if err != nil {
		return 0, "", fmt.Errorf("response: %w", err)
	}
	protocol, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	if status, err = strconv.Atoi(code); err != nil || !strings.HasPrefix(protocol, "HTTP/1.") {
		return 0, "", fmt.Errorf("response begins %.80q, which isn't HTTP", line)
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return 0, "", fmt.Errorf("response: %w", err)
	}
	var rests io.Reader = buffered
	if n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		rests = io.LimitReader(buffered, n)
	}
	b, err := io.ReadAll(rests)
	if err != nil {
		return 0, "", fmt.Errorf("response: %w", err)
	}
	return status, string(b[:min(len(b), 4<<10)]), nil
}

func getRecord(outputs []evidence.Output, p getParams, all []answered, failure string, rounds int, after time.Duration) (evidence.Set, error) {
	source := "GET http://" + p.address + p.path
	r := newRecord(outputs)
	r.put("ok", p.ok(all, failure), "program", source)
	r.put("requests", p.count, "program", "arguments")
	r.put("answered", len(all), "program", source)
	r.put("servers", namesIn(all, answered.serverName), "program", source)
	r.put("peers", namesIn(all, func(a answered) string { return a.peer }), "program", source)
	r.put("local", namesIn(all, func(a answered) string { return a.local }), "syscall", "getsockname")
	r.put("error", failure, "program", source)
	if len(all) > 0 {
		last := all[len(all)-1]
		r.put("status", last.status, "program", source)
		r.put("body", last.body, "program", source)
		times := make([]float64, len(all))
		for i, a := range all {
			times[i] = float64(a.time)
		}
		sorted := newSamples(times)
		r.put("p50", time.Duration(sorted.quantile(0.5)), "clock", source)
		r.put("p95", time.Duration(sorted.quantile(0.95)), "clock", source)
	}
	r.put("rounds", rounds, "program", source)
	r.put("after", after, "clock", source)
	return r.result()
}
