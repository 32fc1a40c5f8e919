package labprobe

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBPFArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		err  string // "" means that they are right
	}{
		{"bpf-load", ""},
		{"bpf-load --uid 65534", ""},
		{"bpf-load --uid 0", "isn't root"},
		{"bpf-load 1000", "unexpected argument"},
		{"bpf-overhead --n 5000 --rounds 1", ""},
		{"bpf-overhead --n 5", "1000 calls"},
		{"bpf-overhead --rounds 0", "1 round"},
		{"bpf-retransmit --loss 10", ""},
		{"bpf-retransmit --loss 51", "0 to 50"},
		{"bpf-retransmit --loss ten", "invalid value"},
		{"bpf-retransmit --bytes 0", "1 byte"},
		{"bpf-cookie", ""},
		{"bpf-cookie --port 1", "no arg"},
		{"throttle-gap --quota 20ms --period 100ms --for 1s", ""},
		{"throttle-gap --quota 20", "parse error"},
		{"throttle-gap --quota 20us", "from 1ms"},
		{"throttle-gap --period 2s --for 20s", "1ms to 1s"},
		{"throttle-gap --for 100ms", "5 periods"},
		{"burn --for 1s", ""},
		{"burn --for 1ms", "100ms"},
		{"tcp-serve :7717", ""},
		{"tcp-serve --for 0s :7717", "positive"},
		{"tcp-serve 7717", "HOST:PORT"},
		{"tcp-serve", "one address"},
		{"tcp-dial --n 10 10.0.0.1:7717", ""},
		{"tcp-dial 10.0.0.1:7717 --n 10", "after the flags"},
		{"tcp-dial --n 0 10.0.0.1:7717", "1 request"},
		{"tcp-self --bytes 1024", ""},
		{"tcp-self --bytes 0", "1 byte"},
		{"sockets --port 80", ""},
		{"sockets", "--port"},
		{"sockets --port 80 --pid -1", "--pid"},
		{"conntrack-exhaust --flows 11", ""},
		{"conntrack-exhaust --ports 0", "1 to 1000"},
		{"flow-join --direct", ""},
		{"flow-join direct", "unexpected argument"},
	} {
		t.Run(c.args, func(t *testing.T) {
			words := strings.Fields(c.args)
			command, err := Lookup(words[0])
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := command.Outputs(words[1:])
			switch {
			case c.err == "" && (err != nil || len(outputs) == 0):
				t.Errorf("got %d outputs and %v", len(outputs), err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want one that contains %q", err, c.err)
			}
		})
	}
}

func TestParseEventFormat(t *testing.T) {
	const sample = `name: tcp_retransmit_skb
ID: 2281
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;

	field:const void * skbaddr;	offset:8;	size:8;	signed:0;
	field:__u16 dport;	offset:30;	size:2;	signed:0;
	field:__u8 saddr[4];	offset:34;	size:4;	signed:0;
	field:__u8 saddr_v6[16];	offset:42;	size:16;	signed:0;
	field:unsigned char *raw;	offset:64;	size:8;	signed:0;

print fmt: "field:%d offset:%d", REC->dport
`
	format, err := parseEventFormat(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := eventFormat{
		"common_type": {0, 2}, "skbaddr": {8, 8}, "dport": {30, 2},
		"saddr": {34, 4}, "saddr_v6": {42, 16}, "raw": {64, 8},
	}
	if !maps.Equal(format, want) {
		t.Errorf("got %v, want %v", format, want)
	}
	if f, err := format.number("dport"); err != nil || f != (eventField{30, 2}) {
		t.Errorf("dport: %v %v", f, err)
	}
	for _, name := range []string{"sport", "saddr_v6"} {
		if f, err := format.number(name); err == nil {
			t.Errorf("%s is no number of this event, got %v", name, f)
		}
	}
	for _, text := range []string{"", "name: x\n", "\tfield:int a;\toffset:99999999999999999999;\tsize:4;\n"} {
		if f, err := parseEventFormat(text); err == nil {
			t.Errorf("%q gave %v", text, f)
		}
	}
}

func TestParseTCPTable(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for _, c := range []struct {
		name, text string
		flows      []string
		state      byte
		fails      bool
	}{
		{name: "empty", text: head},
		{
			name: "listening", state: tcpListen,
			text:  head + "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n",
			flows: []string{"127.0.0.1:8080 > 0.0.0.0:0"},
		},
		{
			name: "v6", state: tcpEstablished,
			text:  head + "   0: B80D0120000000000000000001000000:01BB 0000000000000000FFFF00000201A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n",
			flows: []string{"[2001:db8::1]:443 > 192.168.1.2:50000"},
		},
		{name: "no address", text: "   0: zz:1F90 00000000:0000 0A 0 0 0 0 0 4711\n", fails: true},
		{name: "short address", text: "   0: 0100:1F90 00000000:0000 0A 0 0 0 0 0 4711\n", fails: true},
		{name: "no port", text: "   0: 0100007F 00000000:0000 0A 0 0 0 0 0 4711\n", fails: true},
		{name: "no state", text: "   0: 0100007F:1F90 00000000:0000 XX 0 0 0 0 0 4711\n", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sockets, err := parseTCPTable(c.text)
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			var flows []string
			for _, s := range sockets {
				flows = append(flows, s.flow())
				if s.state != c.state || s.inode != "4711" {
					t.Errorf("state %d, inode %s", s.state, s.inode)
				}
			}
			if !slices.Equal(flows, c.flows) {
				t.Errorf("got %q, want %q", flows, c.flows)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name          string
		gaps          []time.Duration
		peak, longest time.Duration
		events        int64
		text          []string
	}{
		{name: "none"},
		{name: "too short", gaps: []time.Duration{ms / 2, ms - 1}},
		{name: "time decides, not number", gaps: []time.Duration{2 * ms, 2 * ms, 2 * ms, 2 * ms, 81 * ms}, peak: 80 * ms, longest: 80 * ms, events: 5, text: []string{"0s:4", "80ms:1"}},
		{name: "many of one", gaps: []time.Duration{15 * ms, 15 * ms, 15 * ms, 35 * ms}, peak: 10 * ms, longest: 30 * ms, events: 4, text: []string{"10ms:3", "30ms:1"}},
		{name: "beyond the end", gaps: []time.Duration{time.Hour}, peak: 990 * ms, longest: 990 * ms, events: 1, text: []string{"990ms:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g gaps
			for _, d := range c.gaps {
				g.add(d)
			}
			if g.peak() != c.peak || g.longest() != c.longest || g.events() != c.events || !slices.Equal(g.text(), c.text) {
				t.Errorf("got %v %v %d %q", g.peak(), g.longest(), g.events(), g.text())
			}
		})
	}
}
