package labprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// listening accepts on the loopback until the test ends, each connection
// handled by the next of the handlers in turn.
func listening(t *testing.T, handlers ...func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				handlers[i%len(handlers)](conn)
			}()
		}
	}()
	return l.Addr().String()
}

func exchanges(s *httpServer) func(net.Conn) {
	return func(c net.Conn) { _ = s.exchange(c) }
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096)) // to close with unread bytes resets the connection
		_, _ = io.WriteString(c, text)
	}
}

func TestGet(t *testing.T) {
	a, b := &httpServer{name: "a"}, &httpServer{name: "b"}
	unready, dead := &httpServer{name: "u"}, &httpServer{name: "d"}
	unready.unready.Store(true)
	dead.dead.Store(true)
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, c := range []struct {
		name, address, args, path string
		want                      map[string]string
	}{
		{"one server", listening(t, exchanges(a)), "--count 3", "/x?y=1",
			map[string]string{"ok": "true", "answered": "3", "status": "200", "servers": "[a]", "peers": "[127.0.0.1]", "local": "[127.0.0.1]", "error": "", "rounds": "1"}},
		{"two servers", listening(t, exchanges(a), exchanges(b)), "--count 4", "/",
			map[string]string{"ok": "true", "servers": "[a b]"}},
		{"two servers where one is wanted", listening(t, exchanges(a), exchanges(b)), "--count 4 --servers 1 --wait 1ms", "/",
			map[string]string{"ok": "true", "servers": "[a b]"}},
		{"ready", listening(t, exchanges(a)), "", "/readyz", map[string]string{"ok": "true", "status": "200", "body": "yes\n", "servers": "[]"}},
		{"not ready", listening(t, exchanges(unready)), "", "/readyz", map[string]string{"ok": "false", "status": "503", "answered": "1", "error": ""}},
		{"alive", listening(t, exchanges(a)), "", "/livez", map[string]string{"ok": "true"}},
		{"dead", listening(t, exchanges(dead)), "", "/livez", map[string]string{"ok": "false", "status": "500"}},
		{"dead is wanted", listening(t, exchanges(dead)), "--want fail --wait 10s", "/livez", map[string]string{"ok": "false", "rounds": "1"}},
		{"the host's name", listening(t, exchanges(a)), "--host shop.example", "/",
			map[string]string{"body": `{"server":"a","peer":"127.0.0.1","host":"shop.example","path":"/"}` + "\n"}},
		{"refused", gone.Addr().String(), "", "/", map[string]string{"ok": "false", "answered": "0", "error": "ECONNREFUSED", "status": "status is missing", "p50": "p50 is missing"}},
		{"silent", listening(t, silent), "--timeout 50ms", "/", map[string]string{"ok": "false", "error": "timeout"}},
		{"sometimes silent", listening(t, exchanges(a), silent), "--timeout 50ms --count 2", "/", map[string]string{"ok": "false", "answered": "1", "error": "timeout", "servers": "[a]"}},
		{"no HTTP", listening(t, says("SSH-2.0-x\r\n\r\n")), "", "/", map[string]string{"ok": "false", "error": `response begins "SSH-2.0-x", which isn't HTTP`}},
		{"another's answer", listening(t, says("HTTP/1.1 204 No Content\r\n\r\n")), "", "/", map[string]string{"ok": "true", "status": "204", "servers": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := slices.Concat([]string{"get"}, strings.Fields(c.args), []string{"http://" + c.address + c.path})
			set := runCommand(t, line...)
			for name, want := range c.want {
				if got := what(set, name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// The states of serve turn what its probes are told.
func TestServe(t *testing.T) {
	address := listening(t, exchanges(&httpServer{name: "pod"}))
	for _, step := range []struct {
		path string
		ok   bool
	}{
		{"/readyz", true}, {"/unready", true}, {"/readyz", false}, {"/livez", true}, {"/ready", true}, {"/readyz", true},
		{"/dead", true}, {"/livez", false}, {"/readyz", true}, {"/alive", true}, {"/livez", true},
	} {
		if got := value[bool](t, runCommand(t, "get", "http://"+address+step.path), "ok"); got != step.ok {
			t.Errorf("%s: %v", step.path, got)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	address := listening(t, exchanges(&httpServer{name: "pod"}))
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "HTTP/1.1 200 OK",
		"GET /\r\n\r\n":          "HTTP/1.1 400 Bad Request",
		"\x16\x03\x01\r\n\r\n":   "HTTP/1.1 400 Bad Request",
		"GET / HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 9e3): "",
	} {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request) // the server may have hung up already
		b, _ := io.ReadAll(conn)
		_ = conn.Close()
		if line, _, _ := strings.Cut(string(b), "\r\n"); line != want {
			t.Errorf("%.30q: %q, want %q", request, line, want)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	for _, args := range [][]string{{"--port", "0", "--for", "1ms"}, {"--port", "0", "--unready", "--for", "1ms"}} {
		set, err := runServe(t.Context(), args)
		if err != nil || number(t, set, "requests") != 0 {
			t.Errorf("%q: %v, %v", args, set, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runServe(ctx, []string{"--port", "0"}); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUntil(t *testing.T) {
	for _, c := range []struct {
		wait           time.Duration
		asWanted, want int // the round that is as wanted, the rounds
	}{{0, 1, 1}, {0, 9, 1}, {time.Hour, 1, 1}, {time.Hour, 3, 3}} {
		n := 0
		rounds, _, err := patience{wait: c.wait}.until(t.Context(), func() bool { n++; return n == c.asWanted })
		if err != nil || rounds != c.want || n != c.want {
			t.Errorf("%+v: %d rounds, %v", c, rounds, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := (patience{wait: time.Hour}).until(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestConnect(t *testing.T) {
	open := listening(t, says(""))
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, address, args, outcome string }{
		{"open", open, "", "open"},
		{"refused", gone.Addr().String(), "", "refused"},
		{"refused where it is wanted open", gone.Addr().String(), "--want open --wait 1ms", "refused"},
		{"refused as wanted", gone.Addr().String(), "--want refused --wait 10s", "refused"},
		{"closed as wanted", gone.Addr().String(), "--want closed --wait 1h", "refused"},
		{"open where it is wanted closed", open, "--want closed --wait 1ms", "open"},
		{"no such name", "nosuch.invalid:80", "", "unresolved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, port, err := net.SplitHostPort(c.address)
			if err != nil {
				t.Fatal(err)
			}
			set := runCommand(t, slices.Concat([]string{"connect"}, strings.Fields(c.args), []string{host, port})...)
			if got := value[string](t, set, "outcome"); got != c.outcome {
				t.Errorf("outcome %s, want %s", got, c.outcome)
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "refused"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "unreachable"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, "unreachable"},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, "timeout"},
		{context.DeadlineExceeded, "timeout"},
		{fmt.Errorf("dial: %w", syscall.ETIMEDOUT), "timeout"},
		{&net.OpError{Err: &net.DNSError{Err: "no such host"}}, "unresolved"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.EPERM)}, "EPERM"},
	} {
		if got := outcomeOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// fakeDNS answers over UDP and TCP on the loopback until the test ends. What
// is too much for UDP comes truncated.
func fakeDNS(t *testing.T, answer func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource), spoil func(*dnsmessage.Message)) string {
	t.Helper()
	reply := func(b []byte, udp bool) []byte {
		var m dnsmessage.Message
		if m.Unpack(b) != nil || len(m.Questions) != 1 {
			return nil
		}
		m.Response = true
		m.RCode, m.Answers = answer(m.Questions[0])
		if spoil != nil {
			spoil(&m)
		}
		packed, err := m.Pack()
		if err == nil && udp && len(packed) > 512 {
			m.Answers, m.Truncated = nil, true
			packed, err = m.Pack()
		}
		if err != nil {
			t.Errorf("fake DNS: %v", err)
		}
		return packed
	}
	address := listening(t, func(c net.Conn) {
		b := make([]byte, 512)
		if n, err := c.Read(b); err == nil && n > 2 {
			packed := reply(b[2:n], false)
			_, _ = c.Write(append([]byte{byte(len(packed) >> 8), byte(len(packed))}, packed...))
		}
	})
	pc, err := net.ListenPacket("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(reply(b[:n], true), from)
		}
	}()
	return address
}

func TestDNS(t *testing.T) {
	name := dnsmessage.MustNewName
	header := func(ttl uint32, kind dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name("x."), Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}
	}
	records := map[string][]dnsmessage.Resource{
		"web. A": {
			{Header: header(30, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: [4]byte{10, 96, 0, 9}}},
			{Header: header(20, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: [4]byte{10, 96, 0, 1}}},
		},
		"web. AAAA":                   {},
		"db. A":                       {{Header: header(5, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: name("db.example.com.")}}},
		"web. SRV":                    {{Header: header(30, dnsmessage.TypeSRV), Body: &dnsmessage.SRVResource{Priority: 0, Weight: 100, Port: 80, Target: name("web.")}}},
		"1.0.96.10.in-addr.arpa. PTR": {{Header: header(30, dnsmessage.TypePTR), Body: &dnsmessage.PTRResource{PTR: name("web.")}}},
		"text. TXT":                   {{Header: header(0, dnsmessage.TypeTXT), Body: &dnsmessage.TXTResource{TXT: []string{"dns-version=", "1.1.0"}}}},
		"many. A":                     nil,
	}
	for i := range 60 {
		records["many. A"] = append(records["many. A"], dnsmessage.Resource{Header: header(30, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, byte(i)}}})
	}
	address := fakeDNS(t, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
		found, ok := records[q.Name.String()+" "+strings.TrimPrefix(q.Type.String(), "Type")]
		if !ok {
			return dnsmessage.RCodeNameError, nil
		}
		return dnsmessage.RCodeSuccess, found
	}, nil)
	gone, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := gone.LocalAddr().String()
	t.Cleanup(func() { _ = gone.Close() })
	for _, c := range []struct {
		line, server string
		want         map[string]string
	}{
		{"web", address, map[string]string{"rcode": "NOERROR", "answers": "[10.96.0.1 10.96.0.9]", "ttl": "20s", "questions": "[web.]", "rounds": "1", "server": address}},
		{"--tcp web", address, map[string]string{"rcode": "NOERROR", "answers": "[10.96.0.1 10.96.0.9]"}},
		{"--type AAAA web", address, map[string]string{"rcode": "NOERROR", "answers": "[]", "ttl": "ttl is missing"}},
		{"db", address, map[string]string{"rcode": "NOERROR", "answers": "[]", "cnames": "[db.example.com.]", "ttl": "5s"}},
		{"--type SRV web", address, map[string]string{"answers": "[0 100 80 web.]"}},
		{"--type PTR 10.96.0.1", address, map[string]string{"answers": "[web.]", "name": "1.0.96.10.in-addr.arpa."}},
		{"--type TXT text", address, map[string]string{"answers": "[dns-version=1.1.0]", "ttl": "0s"}},
		{"nosuch", address, map[string]string{"rcode": "NXDOMAIN", "answers": "[]"}},
		{"--want NOERROR --wait 1ms nosuch", address, map[string]string{"rcode": "NXDOMAIN"}},
		{"--want unanswered --wait 1h --timeout 50ms web", silent, map[string]string{"rcode": "timeout"}},
		{"--want unanswered --wait 1ms nosuch", address, map[string]string{"rcode": "NXDOMAIN"}},
		{"--timeout 50ms web", silent, map[string]string{"rcode": "timeout"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			set := runCommand(t, append([]string{"dns", "--server", c.server}, strings.Fields(c.line)...)...)
			for name, want := range c.want {
				if got := what(set, name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
	t.Run("more than UDP holds", func(t *testing.T) {
		if got := value[[]string](t, runCommand(t, "dns", "--server", address, "many"), "answers"); len(got) != 60 {
			t.Errorf("%d answers, want 60", len(got))
		}
	})
}

func TestDNSRefusesStrangeAnswers(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*dnsmessage.Message)
		wrong bool
	}{
		{"as it should be", func(*dnsmessage.Message) {}, false},
		{"of another question", func(m *dnsmessage.Message) { m.ID++ }, true},
		{"a question", func(m *dnsmessage.Message) { m.Response = false }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := fakeDNS(t, func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
				return dnsmessage.RCodeSuccess, nil
			}, c.spoil)
			if report, _ := reportOf(t, "dns", "--server", address, "web"); (report.Error != "") != c.wrong {
				t.Errorf("error %q", report.Error)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	pod := parseResolvConf("search a.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\nnameserver x\noptions ndots:5 edns0\n")
	plain := parseResolvConf("# comment\nnameserver 192.0.2.1\nsearch\n")
	if !slices.Equal(pod.servers, []netip.AddrPort{netip.MustParseAddrPort("10.96.0.10:53")}) {
		t.Errorf("servers %v", pod.servers)
	}
	for _, c := range []struct {
		r    resolver
		name string
		want []string
	}{
		{pod, "web", []string{"web.a.svc.cluster.local.", "web.svc.cluster.local.", "web.cluster.local.", "web."}},
		{pod, "web.b", []string{"web.b.a.svc.cluster.local.", "web.b.svc.cluster.local.", "web.b.cluster.local.", "web.b."}},
		{pod, "web.b.", []string{"web.b."}},
		{pod, "a.b.c.d.e.f", []string{"a.b.c.d.e.f.", "a.b.c.d.e.f.a.svc.cluster.local.", "a.b.c.d.e.f.svc.cluster.local.", "a.b.c.d.e.f.cluster.local."}},
		{plain, "web", []string{"web."}},
		{plain, "web.b", []string{"web.b."}},
	} {
		if got := c.r.candidates(c.name); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDNSServer(t *testing.T) {
	file := parseResolvConf("nameserver 10.96.0.10\nnameserver 10.96.0.11\n")
	for _, c := range []struct {
		r           resolver
		named, want string // want is empty where it is an error
	}{
		{file, "", "10.96.0.10:53"}, {file, "192.0.2.1", "192.0.2.1:53"}, {file, "192.0.2.1:5353", "192.0.2.1:5353"},
		{resolver{}, "2001:db8::1", "[2001:db8::1]:53"}, {resolver{}, "", ""}, {file, "dns.example", ""},
	} {
		got, err := c.r.server(c.named)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%q: %v, %v", c.named, got, err)
		}
	}
}

func TestReverseName(t *testing.T) {
	for addr, want := range map[string]string{
		"10.96.0.1":   "1.0.96.10.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := reverseName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("LABPROBE_SET", "a=b")
	set := runCommand(t, "env", "LABPROBE_SET", "LABPROBE_UNSET")
	if what(set, "set") != "[LABPROBE_SET=a=b]" || what(set, "unset") != "[LABPROBE_UNSET]" {
		t.Error(set)
	}
}

func TestReachUsage(t *testing.T) {
	for _, line := range []string{
		"serve --port 70000", "serve x", "serve --for 0s",
		"get", "get ftp://x", "get http://", "get --count 0 http://x", "get --want no http://x", "get --timeout 0s http://x", "get --wait -1s http://x",
		"dns", "dns --type MX x", "dns --want x x", "dns a b",
		"connect", "connect a", "connect a nosuch", "connect --want shut a 1", "env", "conntrack-full --limit 0", "bpf-verify x",
	} {
		words := strings.Fields(line)
		c, err := Lookup(words[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Outputs(words[1:]); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

func TestConntrackFull(t *testing.T) {
	needRoot(t)
	set := evidenceOf(t, "conntrack-full")
	for name, want := range map[string]string{"before": "open", "full": "timeout", "flushed": "open", "refusal": "ENOMEM"} {
		if got := what(set, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if number(t, set, "entries") < number(t, set, "limit")-1 || number(t, set, "drop") < 1 {
		t.Error(set)
	}
	if report, _ := reportOf(t, "conntrack-full", "--limit", "1"); report.Untestable == "" {
		t.Errorf("a limit that is too low: %+v", report)
	}
}

// A table that isn't full takes what it is given.
func TestConntrackHasRoom(t *testing.T) {
	needRoot(t)
	n, err := newNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	for _, want := range []int{1, 1000} {
		if err := flushConntrack(n.router); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		entries, refusal, err := fillConntrack(ctx, n.router, want)
		cancel()
		if err != nil || refusal != "" || entries != want {
			t.Errorf("%d of %d entries, %q, %v", entries, want, refusal, err)
		}
	}
}

func TestBPFVerify(t *testing.T) {
	needRoot(t)
	set := evidenceOf(t, "bpf-verify")
	for name, want := range map[string]string{
		"within.loads": "true", "bounded.loads": "true",
		"beyond.loads": "false", "beyond.errno": "EACCES",
		"unchecked.loads": "false", "unchecked.errno": "EACCES",
		"endless.loads": "false",
	} {
		if got := what(set, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"beyond.log": "invalid access to map value", "unchecked.log": "map_value_or_null", "endless.log": "infinite loop", "within.log": ""} {
		if got := what(set, name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestVerifiersReason(t *testing.T) {
	for want, log := range map[string][]string{
		"":                                 nil,
		"infinite loop detected at insn 1": {"0: (b7) r0 = 0", "infinite loop detected at insn 1", "cur state: R0=0", "old state: R0=P0", "processed 3 insns (limit 1000000)"},
		"invalid access; R0 is outside":    {"R1 unbounded", "7: (79) r0 = 0", "invalid access", "R0 is outside", "verification time 12 usec", "stack depth 4", "processed 3 insns", ""},
	} {
		if got := reason(log); got != want {
			t.Errorf("%q: %q", log, got)
		}
	}
}
