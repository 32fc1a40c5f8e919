package labprobe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// resolver is what dns takes from /etc/resolv.conf (resolv.conf(5)).
type resolver struct {
	servers []netip.AddrPort
	search  []string
	ndots   int
}

func parseResolvConf(text string) resolver {
	r := resolver{ndots: 1}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(words[1]); err == nil {
				r.servers = append(r.servers, netip.AddrPortFrom(addr, 53))
			}
		case "search":
			r.search = words[1:]
		case "options":
			for _, o := range words[1:] {
				if n, ok := strings.CutPrefix(o, "ndots:"); ok {
					if dots, err := strconv.Atoi(n); err == nil {
						r.ndots = dots
					}
				}
			}
		}
	}
	return r
}

// server is the one that is named (IP or IP:PORT), or the first of the file.
func (r resolver) server(named string) (netip.AddrPort, error) {
	if named == "" {
		if len(r.servers) == 0 {
			return netip.AddrPort{}, errors.New("no DNS server: /etc/resolv.conf names none")
		}
		return r.servers[0], nil
	}
	if addr, err := netip.ParseAddr(named); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	server, err := netip.ParseAddrPort(named)
	if err != nil {
		return server, fmt.Errorf("--server %q: want IP or IP:PORT", named)
	}
	return server, nil
}

// candidates are the names that a resolver asks for, in its order: one with
// fewer than ndots dots is tried below the search domains first.
func (r resolver) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var below []string
	for _, domain := range r.search {
		below = append(below, name+"."+strings.TrimSuffix(domain, ".")+".")
	}
	if strings.Count(name, ".") >= r.ndots {
		return append([]string{name + "."}, below...)
	}
	return append(below, name+".")
}

// dnsReply is what a server says to one question.
type dnsReply struct {
	rcode           string
	answered        bool
	answers, cnames []string
	ttl             time.Duration
	records         int
	authoritative   bool
	time            time.Duration
}

func runDNS(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseDNS(args)
	if err != nil {
		return nil, err
	}
	outputs, err := dnsOutputs(args)
	if err != nil {
		return nil, err
	}
	const file = "/etc/resolv.conf"
	text, err := os.ReadFile(file)
	if err != nil && p.server == "" {
		return nil, fmt.Errorf("no DNS server: %w", err)
	}
	conf := parseResolvConf(string(text))
	server, err := conf.server(p.server)
	if err != nil {
		return nil, err
	}
	p.server = server.String()
	names := []string{strings.TrimSuffix(p.name, ".") + "."}
	if p.search {
		names = conf.candidates(p.name)
	}
	var reply dnsReply
	var questions []string
	var lookupErr error
	rounds, after, err := p.until(ctx, func() bool {
		questions, reply, lookupErr = p.lookup(ctx, names)
		return lookupErr != nil || p.want == "" || reply.rcode == p.want || p.want == unanswered && !reply.answered
	})
	if err := errors.Join(err, lookupErr); err != nil {
		return nil, err
	}
	source := "question to " + p.server
	r := newRecord(outputs)
	r.put("rcode", reply.rcode, "program", source)
	r.put("answers", reply.answers, "program", source)
	r.put("cnames", reply.cnames, "program", source)
	if reply.records > 0 {
		r.put("ttl", reply.ttl, "program", source)
	}
	r.put("authoritative", reply.authoritative, "program", source)
	r.put("name", questions[len(questions)-1], "program", source)
	r.put("questions", questions, "program", source)
	r.put("server", p.server, "file", file)
	r.put("search", conf.search, "file", file)
	r.put("time", reply.time, "clock", source)
	r.put("rounds", rounds, "program", source)
	r.put("after", after, "clock", source)
	return r.result()
}

// lookup asks for the names until one has an answer, or is not answered at
// all, as resolvers do.
func (p dnsParams) lookup(ctx context.Context, names []string) (questions []string, reply dnsReply, err error) {
	for _, name := range names {
		questions = append(questions, name)
		start := time.Now()
		reply, err = p.ask(ctx, name)
		if err != nil {
			return questions, reply, err
		}
		reply.time = time.Since(start)
		if reply.rcode != "NXDOMAIN" && (reply.rcode != "NOERROR" || reply.records > 0) {
			break
		}
	}
	return questions, reply, nil
}

// ask puts one question. A server that doesn't answer is a reply with the
// code timeout, or the socket's errno; an error is an answer that can't be
// read.
func (p dnsParams) ask(ctx context.Context, name string) (dnsReply, error) {
	question, id, err := p.question(name)
	if err != nil {
		return dnsReply{}, err
	}
	network := "udp"
	if p.tcp {
		network = "tcp"
	}
	b, err := p.exchange(ctx, network, question)
	if err != nil {
		return dnsReply{rcode: failureName(err)}, nil
	}
	reply, truncated, err := p.read(b, id)
	if err == nil && truncated && network == "udp" { // RFC 7766: ask again over TCP
		if b, err = p.exchange(ctx, "tcp", question); err != nil {
			return dnsReply{rcode: failureName(err)}, nil
		}
		reply, _, err = p.read(b, id)
	}
	if err != nil {
		return reply, fmt.Errorf("answer of %s for %s: %w", p.server, name, err)
	}
	return reply, nil
}

var dnsTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME,
	"PTR": dnsmessage.TypePTR, "SRV": dnsmessage.TypeSRV, "TXT": dnsmessage.TypeTXT,
}

func (p dnsParams) question(name string) (packed []byte, id uint16, err error) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	id = binary.BigEndian.Uint16(random[:])
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, 0, fmt.Errorf("name %q: %w", name, err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsTypes[p.kind], Class: dnsmessage.ClassINET}},
	}
	if packed, err = m.Pack(); err != nil {
		return nil, 0, fmt.Errorf("question for %q: %w", name, err)
	}
	return packed, id, nil
}

// exchange sends a question and reads the answer; over TCP both have their
// length before them (RFC 1035, 4.2.2).
func (p dnsParams) exchange(ctx context.Context, network string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, p.server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if network == "udp" {
		if _, err := conn.Write(question); err != nil {
			return nil, err
		}
		answer := make([]byte, 64<<10)
		n, err := conn.Read(answer)
		return answer[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// read takes from an answer what is reported.
func (p dnsParams) read(b []byte, id uint16) (reply dnsReply, truncated bool, err error) {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return reply, false, err
	}
	if m.ID != id || !m.Response {
		return reply, false, errors.New("it belongs to another question")
	}
	reply.rcode, reply.answered = rcodeName(m.RCode), true
	reply.authoritative = m.Authoritative
	reply.records = len(m.Answers)
	for i, a := range m.Answers {
		ttl := time.Duration(a.Header.TTL) * time.Second
		if i == 0 || ttl < reply.ttl {
			reply.ttl = ttl
		}
		data := recordData(a.Body)
		if a.Header.Type == dnsTypes[p.kind] {
			reply.answers = append(reply.answers, data)
		}
		if a.Header.Type == dnsmessage.TypeCNAME {
			reply.cnames = append(reply.cnames, data)
		}
	}
	slices.Sort(reply.answers)
	return reply, m.Truncated, nil
}

// rcodeName is the name in RFC 1035's registry.
func rcodeName(code dnsmessage.RCode) string {
	if int(code) < 6 {
		return responseCodes[code]
	}
	return fmt.Sprintf("RCODE%d", code)
}

func recordData(body dnsmessage.ResourceBody) string {
	switch x := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(x.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(x.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return x.CNAME.String()
	case *dnsmessage.PTRResource:
		return x.PTR.String()
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", x.Priority, x.Weight, x.Port, x.Target.String())
	case *dnsmessage.TXTResource:
		return strings.Join(x.TXT, "")
	}
	return fmt.Sprintf("%T", body)
}
