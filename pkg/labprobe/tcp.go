package labprobe

import (
	"flag"
	"fmt"
	"net"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// networkCommands measure TCP and what the kernel keeps of connections.
var networkCommands = []Command{
	{
		Name: "tcp-serve", Usage: "[--for D] ADDRESS",
		Doc:     "serves tcp-dial, until the time is over or SIGTERM comes",
		Outputs: tcpServeOutputs, Run: runTCPServe,
	},
	{
		Name: "tcp-dial", Usage: "[--n N] [--bytes B] [--rounds R] [--wait D] ADDRESS",
		Doc:     "request and response of one byte each (TCP_RR), and throughput, to a tcp-serve",
		Outputs: tcpDialOutputs, Exclusive: true, Run: runTCPDial,
	},
	{
		Name: "tcp-self", Usage: "[--n N] [--bytes B] [--rounds R]",
		Doc:     "tcp-serve and tcp-dial over the loopback of the place",
		Outputs: tcpSelfOutputs, Exclusive: true, Run: runTCPSelf,
	},
	{
		Name: "sockets", Usage: "--port N [--pid P]",
		Doc:     "TCP sockets with a port that the kernel lists, in the network namespace of a process or in all of them",
		Outputs: socketsOutputs, Run: runSockets,
	},
	{
		Name: "conntrack-exhaust", Usage: "[--ports N] [--flows N]",
		Doc:     "more flows to one server than source NAT has ports: conntrack's counters",
		Outputs: conntrackExhaustOutputs, Run: runConntrackExhaust,
	},
	{
		Name: "conntrack-full", Usage: "[--limit N]",
		Doc:     "fills the connection table of a network namespace to nf_conntrack_max: what becomes of the next connection",
		Outputs: conntrackFullOutputs, Exclusive: true, Run: runConntrackFull,
	},
	{
		Name: "flow-join", Usage: "[--direct]",
		Doc:     "addresses that a client's application sees beside those of the server's socket, through destination NAT (as a Service has) or without, and conntrack's entry between them",
		Outputs: flowJoinOutputs, Run: runFlowJoin,
	},
}

type tcpServeParams struct {
	address string
	length  time.Duration
}

func parseTCPServe(args []string) (p tcpServeParams, err error) {
	f := newFlags()
	f.DurationVar(&p.length, "for", 10*time.Minute, "")
	if p.address, err = oneAddress(f, args); err != nil {
		return p, err
	}
	if p.length <= 0 {
		return p, fmt.Errorf("--for %v: want a positive duration", p.length)
	}
	return p, nil
}

// oneAddress reads flags and the one argument HOST:PORT.
func oneAddress(f *flag.FlagSet, args []string) (string, error) {
	if err := f.Parse(args); err != nil {
		return "", err
	}
	if f.NArg() != 1 {
		return "", fmt.Errorf("want one address HOST:PORT after the flags, got %q", f.Args())
	}
	if _, _, err := net.SplitHostPort(f.Arg(0)); err != nil {
		return "", fmt.Errorf("want an address HOST:PORT: %w", err)
	}
	return f.Arg(0), nil
}

func tcpServeOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseTCPServe(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "connections", Type: evidence.Int, Unit: "count", Doc: "connections served"},
	}, nil
}

// tcpLoad is what tcp-dial does to a server.
type tcpLoad struct {
	n, rounds int
	bytes     int64
	// wait is how long the server may take to be there.
	wait time.Duration
}

func (l *tcpLoad) flags(f *flag.FlagSet) {
	f.IntVar(&l.n, "n", 2000, "")
	f.IntVar(&l.rounds, "rounds", 5, "")
	f.Int64Var(&l.bytes, "bytes", 64<<20, "")
	f.DurationVar(&l.wait, "wait", 10*time.Second, "")
}

func (l *tcpLoad) check() error {
	if l.n < 1 || l.rounds < 1 || l.bytes < 1 || l.wait < 0 {
		return fmt.Errorf("want at least 1 request, 1 round and 1 byte, got --n %d --rounds %d --bytes %d", l.n, l.rounds, l.bytes)
	}
	return nil
}

func tcpLoadOutputs() []evidence.Output {
	return []evidence.Output{
		{Name: "rr.p50", Type: evidence.Duration, Doc: "time of a request and its response, one byte each: median; the middle one of the rounds"},
		{Name: "rr.p95", Type: evidence.Duration, Doc: "the same, 95th percentile"},
		{Name: "rr.noise", Type: evidence.Double, Unit: "1", Doc: "how far the median round lies from the best, in parts of the best"},
		{Name: "throughput", Type: evidence.Double, Unit: "bytes/s", Doc: "one stream, until the server has acknowledged the last byte; the middle one of the rounds"},
		{Name: "throughput.noise", Type: evidence.Double, Unit: "1", Doc: "how far the median round lies from the best, in parts of the best"},
		{Name: "rounds", Type: evidence.Int, Unit: "count", Doc: "rounds of both"},
	}
}

type tcpDialParams struct {
	tcpLoad
	address string
}

func parseTCPDial(args []string) (p tcpDialParams, err error) {
	f := newFlags()
	p.flags(f)
	if p.address, err = oneAddress(f, args); err != nil {
		return p, err
	}
	return p, p.check()
}

func tcpDialOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseTCPDial(args); err != nil {
		return nil, err
	}
	return tcpLoadOutputs(), nil
}

func parseTCPSelf(args []string) (l tcpLoad, err error) {
	if err := parse(args, l.flags); err != nil {
		return l, err
	}
	return l, l.check()
}

func tcpSelfOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseTCPSelf(args); err != nil {
		return nil, err
	}
	return tcpLoadOutputs(), nil
}

type socketsParams struct{ pid, port int }

func parseSockets(args []string) (p socketsParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.IntVar(&p.pid, "pid", 0, "")
		f.IntVar(&p.port, "port", 0, "")
	})
	if err == nil && (p.port < 1 || p.port > 65535 || p.pid < 0) {
		err = fmt.Errorf("want --port 1 to 65535, and --pid of a process; got --port %d --pid %d", p.port, p.pid)
	}
	return p, err
}

func socketsOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseSockets(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "sockets", Type: evidence.Int, Unit: "count", Doc: "TCP sockets with the port on either side"},
		{Name: "listening", Type: evidence.Int, Unit: "count", Doc: "those that listen"},
		{Name: "established", Type: evidence.Int, Unit: "count", Doc: "those that are connected"},
	}, nil
}

type conntrackExhaustParams struct{ ports, flows int }

func parseConntrackExhaust(args []string) (p conntrackExhaustParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.IntVar(&p.ports, "ports", 10, "")
		f.IntVar(&p.flows, "flows", 15, "")
	})
	if err == nil && (p.ports < 1 || p.ports > 1000 || p.flows < 1 || p.flows > 1000) {
		err = fmt.Errorf("want 1 to 1000 ports and flows, got --ports %d --flows %d", p.ports, p.flows)
	}
	return p, err
}

func conntrackExhaustOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseConntrackExhaust(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "ports", Type: evidence.Int, Unit: "count", Doc: "source ports that NAT may use"},
		{Name: "flows", Type: evidence.Int, Unit: "count", Doc: "connections tried at a time, to one address and port"},
		{Name: "connected", Type: evidence.Int, Unit: "count", Doc: "connections that came about"},
		{Name: "insert_failed", Type: evidence.Int, Unit: "count", Doc: "insert_failed of conntrack -S, all CPUs, since the start"},
		{Name: "drop", Type: evidence.Int, Unit: "count", Doc: "drop of conntrack -S, all CPUs, since the start"},
		{Name: "early_drop", Type: evidence.Int, Unit: "count", Doc: "early_drop of conntrack -S, all CPUs, since the start"},
		{Name: "client.error", Type: evidence.String, Doc: "what the application of the first failed flow sees, empty where none failed"},
	}, nil
}

type conntrackFullParams struct{ limit int }

func parseConntrackFull(args []string) (p conntrackFullParams, err error) {
	err = parse(args, func(f *flag.FlagSet) { f.IntVar(&p.limit, "limit", 1<<20, "") })
	if err == nil && p.limit < 1 {
		err = fmt.Errorf("--limit %d: want 1 or more", p.limit)
	}
	return p, err
}

func conntrackFullOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseConntrackFull(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "limit", Type: evidence.Int, Unit: "count", Doc: "nf_conntrack_max: entries that a network namespace may have"},
		{Name: "entries", Type: evidence.Int, Unit: "count", Doc: "entries that were added before the kernel took no more"},
		{Name: "refusal", Type: evidence.String, Doc: "the error of the entry that was refused, empty where none was"},
		{Name: "before", Type: evidence.String, Doc: "a connection through the namespace before: open, or its error"},
		{Name: "full", Type: evidence.String, Doc: "one while the table is full"},
		{Name: "flushed", Type: evidence.String, Doc: "one after the table was emptied"},
		{Name: "drop", Type: evidence.Int, Unit: "count", Doc: "drop of conntrack -S, all CPUs, during the connection while it was full"},
	}, nil
}

type flowJoinParams struct{ direct bool }

func parseFlowJoin(args []string) (p flowJoinParams, err error) {
	return p, parse(args, func(f *flag.FlagSet) { f.BoolVar(&p.direct, "direct", false, "") })
}

func flowJoinOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseFlowJoin(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "client.app", Type: evidence.String, Doc: "the flow as the client's application has it: getsockname > getpeername"},
		{Name: "client.socket", Type: evidence.String, Doc: "the flow of the client's socket in the kernel"},
		{Name: "server.socket", Type: evidence.String, Doc: "the flow of the server's socket in the kernel, seen from the client"},
		{Name: "conntrack", Type: evidence.String, Doc: "the flow behind NAT by conntrack's entry for the application's flow"},
		{Name: "join.client", Type: evidence.Bool, Doc: "the application's flow is that of the client's socket"},
		{Name: "join.server", Type: evidence.Bool, Doc: "the application's flow is that of the server's socket"},
		{Name: "join.conntrack", Type: evidence.Bool, Doc: "the flow by conntrack's entry is that of the server's socket"},
	}, nil
}
