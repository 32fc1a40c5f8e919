package labprobe

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// reachCommands ask what a Pod can reach, and serve those that ask. Each of
// those that ask repeats itself, with --wait, until what it finds is what
// --want names: rules of kube-proxy and of policies take effect some time
// after the API server has them.
var reachCommands = []Command{
	{
		Name: "serve", Usage: "[--port N] [--unready] [--for D]",
		Doc:     "HTTP server that says who it is and who asks; /readyz and /livez are set by /ready, /unready, /alive and /dead",
		Outputs: serveOutputs, Run: runServe,
	},
	{
		Name: "get", Usage: "[--count N] [--timeout D] [--host NAME] [--want ok|fail] [--servers N] [--wait D] URL",
		Doc:     "HTTP GET, each on a connection of its own: who answers (serve), as whom the client is seen, how long it takes",
		Outputs: getOutputs, Run: runGet,
	},
	{
		Name: "dns", Usage: "[--type T] [--server IP] [--search] [--tcp] [--timeout D] [--want RCODE|unanswered] [--wait D] NAME",
		Doc:     "asks a DNS server, without libc: records, response code, TTL",
		Outputs: dnsOutputs, Run: runDNS,
	},
	{
		Name: "connect", Usage: "[--timeout D] [--want OUTCOME|closed] [--wait D] HOST PORT",
		Doc:     "opens a TCP connection: open, refused, timeout",
		Outputs: connectOutputs, Run: runConnect,
	},
	{
		Name: "env", Usage: "NAME…",
		Doc:     "environment variables of the container",
		Outputs: envOutputs, Run: runEnv,
	},
}

// patience is how long a command repeats itself.
type patience struct {
	wait, timeout time.Duration
	want          string
}

func (p *patience) flags(f *flag.FlagSet, want string) {
	f.DurationVar(&p.wait, "wait", 0, "")
	f.DurationVar(&p.timeout, "timeout", 2*time.Second, "")
	f.StringVar(&p.want, "want", want, "")
}

func (p *patience) check(wants ...string) error {
	if p.wait < 0 || p.timeout <= 0 {
		return fmt.Errorf("want --timeout above 0 and --wait of 0 or more, got --timeout %v --wait %v", p.timeout, p.wait)
	}
	if !slices.Contains(wants, p.want) {
		return fmt.Errorf("--want %q: want one of %s", p.want, strings.Join(wants, ", "))
	}
	return nil
}

type serveParams struct {
	port    int
	unready bool
	length  time.Duration
}

func parseServe(args []string) (p serveParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.IntVar(&p.port, "port", 8080, "")
		f.BoolVar(&p.unready, "unready", false, "")
		f.DurationVar(&p.length, "for", time.Hour, "")
	})
	if err == nil && (p.port < 0 || p.port > 65535 || p.length <= 0) {
		err = fmt.Errorf("want --port 0 to 65535 and --for above 0, got --port %d --for %v", p.port, p.length)
	}
	return p, err
}

func serveOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseServe(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "requests", Type: evidence.Int, Unit: "count", Doc: "requests answered until SIGTERM came or the time was over"},
	}, nil
}

type getParams struct {
	patience
	count, servers      int
	address, host, path string
}

func parseGet(args []string) (p getParams, err error) {
	f := newFlags()
	p.flags(f, "ok")
	f.IntVar(&p.count, "count", 1, "")
	f.IntVar(&p.servers, "servers", 0, "")
	f.StringVar(&p.host, "host", "", "")
	if err := f.Parse(args); err != nil {
		return p, err
	}
	if f.NArg() != 1 {
		return p, fmt.Errorf("want one URL after the flags, got %q", f.Args())
	}
	if p.count < 1 || p.count > 10000 || p.servers < 0 {
		return p, fmt.Errorf("want --count 1 to 10000 and --servers of 0 or more, got --count %d --servers %d", p.count, p.servers)
	}
	if err := p.check("ok", "fail"); err != nil {
		return p, err
	}
	rest, ok := strings.CutPrefix(f.Arg(0), "http://")
	if !ok {
		return p, fmt.Errorf("URL %q: want http://HOST[:PORT][/PATH]", f.Arg(0))
	}
	authority, path, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(rest, " \r\n") || strings.ContainsAny(p.host, " \r\n") || authority == "" {
		return p, fmt.Errorf("URL %q: want http://HOST[:PORT][/PATH]", f.Arg(0))
	}
	if p.host == "" {
		p.host = authority
	}
	if _, _, err := net.SplitHostPort(authority); err != nil {
		authority = net.JoinHostPort(strings.Trim(authority, "[]"), "80")
	}
	p.address, p.path = authority, "/"+path
	return p, nil
}

func getOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseGet(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "ok", Type: evidence.Bool, Doc: "every request was answered by a status from 200 to 299"},
		{Name: "requests", Type: evidence.Int, Unit: "count", Doc: "requests of a round"},
		{Name: "answered", Type: evidence.Int, Unit: "count", Doc: "those answered, by any status"},
		{Name: "status", Type: evidence.Int, Doc: "status of the last answer; absent where there was none"},
		{Name: "servers", Type: evidence.List, Doc: "host names of those who answered (the Pods' names), each once, in order"},
		{Name: "peers", Type: evidence.List, Doc: "the client's addresses as the servers see them, each once, in order"},
		{Name: "local", Type: evidence.List, Doc: "the client's addresses as it sees them itself, each once, in order"},
		{Name: "body", Type: evidence.String, Doc: "the last answer's, up to 4 KiB; absent where there was none"},
		{Name: "error", Type: evidence.String, Doc: "what the first request that failed says (ECONNREFUSED, timeout); empty where none did"},
		{Name: "p50", Type: evidence.Duration, Doc: "from before connecting to the end of the answer, median; absent where there was none"},
		{Name: "p95", Type: evidence.Duration, Doc: "the same, 95th percentile"},
		{Name: "rounds", Type: evidence.Int, Unit: "count", Doc: "rounds until it was as wanted or the wait was over; everything else is of the last one"},
		{Name: "after", Type: evidence.Duration, Doc: "from the start to the end of the last round"},
	}, nil
}

// recordTypes are the types that dns asks for (RFC 1035, RFC 2782, RFC 3596).
var recordTypes = []string{"A", "AAAA", "CNAME", "PTR", "SRV", "TXT"}

// responseCodes are those of RFC 1035 by their usual names, in the order of
// their numbers from 0, and what else a
// question may end with.
var responseCodes = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "timeout", "ECONNREFUSED"}

// unanswered wants a question that no server answers, whatever becomes of it:
// some policy engines drop packets, some refuse them.
const unanswered = "unanswered"

type dnsParams struct {
	patience
	kind, name  string
	server      string // IP or IP:PORT; empty: that of /etc/resolv.conf
	search, tcp bool
}

func parseDNS(args []string) (p dnsParams, err error) {
	f := newFlags()
	p.flags(f, "")
	f.StringVar(&p.kind, "type", "A", "")
	f.StringVar(&p.server, "server", "", "")
	f.BoolVar(&p.search, "search", false, "")
	f.BoolVar(&p.tcp, "tcp", false, "")
	if err := f.Parse(args); err != nil {
		return p, err
	}
	if f.NArg() != 1 || f.Arg(0) == "" {
		return p, fmt.Errorf("want one name after the flags, got %q", f.Args())
	}
	p.name = f.Arg(0)
	if !slices.Contains(recordTypes, p.kind) {
		return p, fmt.Errorf("--type %q: want one of %s", p.kind, strings.Join(recordTypes, ", "))
	}
	if p.kind == "PTR" {
		if addr, err := netip.ParseAddr(p.name); err == nil {
			p.name = reverseName(addr)
		}
	}
	return p, p.check(append([]string{"", unanswered}, responseCodes...)...)
}

// reverseName is the name that an address has in reverse (RFC 1035, RFC 3596).
func reverseName(addr netip.Addr) string {
	bytes := addr.AsSlice()
	slices.Reverse(bytes)
	var b strings.Builder
	for _, x := range bytes {
		if addr.Is4() {
			fmt.Fprintf(&b, "%d.", x)
		} else {
			fmt.Fprintf(&b, "%x.%x.", x&15, x>>4)
		}
	}
	if addr.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

func dnsOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseDNS(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "rcode", Type: evidence.String, Doc: "response code as NOERROR or NXDOMAIN, or timeout, or the errno of the socket"},
		{Name: "answers", Type: evidence.List, Doc: "data of the records of the type that was asked for, in order; SRV as PRIORITY WEIGHT PORT TARGET"},
		{Name: "cnames", Type: evidence.List, Doc: "targets of the CNAME records on the way"},
		{Name: "ttl", Type: evidence.Duration, Doc: "the least TTL of the answer section; absent where that is empty"},
		{Name: "authoritative", Type: evidence.Bool, Doc: "the answer's AA bit"},
		{Name: "name", Type: evidence.String, Doc: "the name of the last question"},
		{Name: "questions", Type: evidence.List, Doc: "the names that were asked for, in their order (with --search more than one)"},
		{Name: "server", Type: evidence.String, Doc: "address and port of the server"},
		{Name: "search", Type: evidence.List, Doc: "search domains of /etc/resolv.conf"},
		{Name: "time", Type: evidence.Duration, Doc: "of the last question"},
		{Name: "rounds", Type: evidence.Int, Unit: "count", Doc: "rounds until it was as wanted or the wait was over; everything else is of the last one"},
		{Name: "after", Type: evidence.Duration, Doc: "from the start to the end of the last round"},
	}, nil
}

// connectOutcomes are what becomes of a connection. A packet that a policy
// drops is a timeout.
var connectOutcomes = []string{"open", "refused", "timeout", "unreachable", "unresolved"}

// closed wants a connection that doesn't open, whatever becomes of it.
const closed = "closed"

type connectParams struct {
	patience
	address string
}

func parseConnect(args []string) (p connectParams, err error) {
	f := newFlags()
	p.flags(f, "")
	if err := f.Parse(args); err != nil {
		return p, err
	}
	if f.NArg() != 2 {
		return p, fmt.Errorf("want HOST and PORT after the flags, got %q", f.Args())
	}
	p.address = net.JoinHostPort(f.Arg(0), f.Arg(1))
	if _, err := net.LookupPort("tcp", f.Arg(1)); err != nil {
		return p, fmt.Errorf("port: %w", err)
	}
	return p, p.check(append([]string{"", closed}, connectOutcomes...)...)
}

func connectOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseConnect(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "outcome", Type: evidence.String, Doc: strings.Join(connectOutcomes, ", ") + ", or another error's name"},
		{Name: "time", Type: evidence.Duration, Doc: "of the last attempt"},
		{Name: "rounds", Type: evidence.Int, Unit: "count", Doc: "attempts until it was as wanted or the wait was over; everything else is of the last one"},
		{Name: "after", Type: evidence.Duration, Doc: "from the start to the end of the last attempt"},
	}, nil
}

func envOutputs(args []string) ([]evidence.Output, error) {
	if len(args) == 0 || slices.Contains(args, "") {
		return nil, fmt.Errorf("want names of environment variables, got %q", args)
	}
	return []evidence.Output{
		{Name: "set", Type: evidence.List, Doc: "those that are set, as NAME=VALUE, in the order of the arguments"},
		{Name: "unset", Type: evidence.List, Doc: "those that aren't"},
	}, nil
}
