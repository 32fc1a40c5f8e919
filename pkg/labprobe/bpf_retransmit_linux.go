package labprobe

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runBPFRetransmit(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseBPFRetransmit(args)
	if err != nil {
		return nil, err
	}
	outputs, err := bpfRetransmitOutputs(args)
	if err != nil {
		return nil, err
	}
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	defer n.close()
	if err := loseData(n.router, p.loss); err != nil {
		return nil, err
	}
	// One counter a port; which port it is, the event's field says.
	ports, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1 << 16})
	if err != nil {
		return nil, bpfError("a map of eBPF", err)
	}
	defer func() { _ = ports.Close() }()
	t, err := trace("tcp", "tcp_retransmit_skb", func(f eventFormat) (asm.Instructions, error) {
		dport, err := f.number("dport")
		if err != nil {
			return nil, err
		}
		program := asm.Instructions{dport.load(asm.R2)}
		if _, ok := f["err"]; ok {
			// Newer kernels also report what they could not send; the
			// counter beside it doesn't have those.
			failed, err := f.number("err")
			if err != nil {
				return nil, err
			}
			program = append(program, failed.load(asm.R3), asm.Mov.Imm(asm.R0, 0), asm.JNE.Imm(asm.R3, 0, "out"))
		}
		return append(program, addOne(ports)...), nil
	})
	if err != nil {
		return nil, err
	}
	defer t.close()

	port, arrived, err := transfer(ctx, n, p.bytes)
	if err != nil {
		return nil, err
	}
	var events uint64
	if err := ports.Lookup(uint32(port), &events); err != nil {
		return nil, fmt.Errorf("counter of port %d: %w", port, err)
	}
	tcp, err := in(n.client, func() (map[string]int64, error) { return snmp("/proc/thread-self/net/snmp", "Tcp") })
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("events", int64(events), "counter", "tracepoint tcp:tcp_retransmit_skb")
	r.put("retrans_segs", tcp["RetransSegs"], "file", "/proc/net/snmp")
	r.put("out_segs", tcp["OutSegs"], "file", "/proc/net/snmp")
	r.put("port", port, "program", "listener")
	r.put("bytes", arrived, "program", "server")
	return r.result()
}

// transfer sends bytes from the client to the server and returns when they
// have arrived.
func transfer(ctx context.Context, n *network, bytes int64) (port int, arrived int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := n.listen(ctx, "0")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = l.Close() }()
	port = l.Addr().(*net.TCPAddr).Port
	conn, err := in(n.client, func() (net.Conn, error) { return dial(ctx, l.Addr().String()) })
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }()
	peer, err := l.Accept() // the connection is there: the client has dialled
	if err != nil {
		return 0, 0, fmt.Errorf("accept: %w", err)
	}
	defer func() { _ = peer.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close(); _ = peer.Close() })()

	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(conn, zeros{}, bytes)
		sent <- err
	}()
	arrived, err = io.CopyN(io.Discard, peer, bytes)
	if ctx.Err() != nil {
		return 0, 0, fmt.Errorf("transfer of %d bytes: %w after %d", bytes, context.Cause(ctx), arrived)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("receive: %w", err)
	}
	if err := <-sent; err != nil {
		return 0, 0, fmt.Errorf("send: %w", err)
	}
	return port, arrived, nil
}

// zeros is an endless source of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// snmp reads one protocol's counters from a file like /proc/net/snmp: a line
// of names and a line of values.
func snmp(path, protocol string) (map[string]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("network counters: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if len(fields) != len(names) {
			return nil, fmt.Errorf("%s: %d names and %d values for %s", path, len(names)-1, len(fields)-1, protocol)
		}
		values := map[string]int64{}
		for i := 1; i < len(fields); i++ {
			if values[names[i]], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, names[i], err)
			}
		}
		return values, nil
	}
	return nil, fmt.Errorf("%s has no counters of %s", path, protocol)
}
