package labprobe

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runConnect(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseConnect(args)
	if err != nil {
		return nil, err
	}
	outputs, err := connectOutputs(args)
	if err != nil {
		return nil, err
	}
	var outcome string
	var took time.Duration
	rounds, after, err := p.until(ctx, func() bool {
		outcome, took = attempt(ctx, p)
		return p.want == "" || outcome == p.want || p.want == closed && outcome != "open"
	})
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("outcome", outcome, "syscall", "connect "+p.address)
	r.put("time", took, "clock", "connect "+p.address)
	r.put("rounds", rounds, "program", "connect "+p.address)
	r.put("after", after, "clock", "connect "+p.address)
	return r.result()
}

// attempt opens a connection and closes it.
func attempt(ctx context.Context, p connectParams) (outcome string, took time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	start := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.address)
	took = time.Since(start)
	if err != nil {
		return outcomeOf(err), took
	}
	_ = conn.Close() // it has shown what it was for
	return "open", took
}

// outcomeOf names what became of a connection that didn't open.
func outcomeOf(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "unresolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	return failureName(err)
}

// failureName is errnoName, and timeout for every deadline.
func failureName(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "unresolved"
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout() {
		return "timeout"
	}
	return errnoName(err)
}
