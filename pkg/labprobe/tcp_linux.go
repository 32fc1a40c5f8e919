package labprobe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// The protocol of tcp-serve: the client's first byte says what follows.
const (
	// requests: each byte is answered by one byte.
	requests = 'r'
	// stream: bytes until the client closes its side, answered by one byte.
	stream = 's'
)

func runTCPServe(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseTCPServe(args)
	if err != nil {
		return nil, err
	}
	outputs, err := tcpServeOutputs(args)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", p.address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.length)
	defer cancel()
	served, err := serve(ctx, l)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("connections", served, "program", "accept")
	return r.result()
}

// serve answers clients until ctx ends, which is how it is meant to end. It
// closes the listener, and returns how many connections there were.
func serve(ctx context.Context, l net.Listener) (int64, error) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer func() { _ = l.Close() }()
	var served atomic.Int64
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return served.Load(), nil
		}
		if err != nil {
			return served.Load(), fmt.Errorf("accept: %w", err)
		}
		served.Add(1)
		clients.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			_ = answer(conn) // a client that goes away is the client's matter
		})
	}
}

func answer(conn net.Conn) error {
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return err
	}
	switch b[0] {
	case requests:
		for {
			if _, err := io.ReadFull(conn, b[:]); err != nil {
				return err
			}
			if _, err := conn.Write(b[:]); err != nil {
				return err
			}
		}
	case stream:
		// A plain reader: splice and the like would measure something else.
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 256<<10)); err != nil {
			return err
		}
		_, err := conn.Write(b[:])
		return err
	}
	return fmt.Errorf("unknown request %q", b[0])
}

func runTCPDial(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseTCPDial(args)
	if err != nil {
		return nil, err
	}
	return load(ctx, p.tcpLoad, p.address)
}

func runTCPSelf(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseTCPSelf(args)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var server sync.WaitGroup
	defer server.Wait()
	defer cancel()
	var serveErr error
	server.Go(func() { _, serveErr = serve(ctx, l) })
	set, err := load(ctx, p, l.Addr().String())
	cancel()
	server.Wait()
	return set, errors.Join(err, serveErr)
}

// load measures a server in rounds.
func load(ctx context.Context, l tcpLoad, address string) (evidence.Set, error) {
	var p50, p95, streams []float64
	for range l.rounds {
		times, err := roundTrips(ctx, l, address)
		if err != nil {
			return nil, err
		}
		p50, p95 = append(p50, times.quantile(0.5)), append(p95, times.quantile(0.95))
		stream, err := streamTime(ctx, l, address)
		if err != nil {
			return nil, err
		}
		streams = append(streams, stream)
	}
	typical, times := newSamples(p50), newSamples(streams)
	r := newRecord(tcpLoadOutputs())
	r.put("rr.p50", time.Duration(typical.quantile(0.5)), "clock", "write and read of 1 byte")
	r.put("rr.p95", time.Duration(newSamples(p95).quantile(0.5)), "clock", "write and read of 1 byte")
	r.put("rr.noise", typical.noise(), "clock", "write and read of 1 byte")
	r.put("throughput", float64(l.bytes)/times.quantile(0.5), "clock", fmt.Sprintf("stream of %d bytes", l.bytes))
	r.put("throughput.noise", times.noise(), "clock", fmt.Sprintf("stream of %d bytes", l.bytes))
	r.put("rounds", l.rounds, "program", "arguments")
	return r.result()
}

// session dials, says what follows, and runs f; the connection closes with it or with ctx.
func session(ctx context.Context, l tcpLoad, address string, what byte, f func(*net.TCPConn) error) error {
	conn, err := dialWithin(ctx, l.wait, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err = conn.Write([]byte{what}); err == nil {
		err = f(conn)
	}
	if err != nil {
		return fmt.Errorf("talk to %s: %w", address, errors.Join(ctx.Err(), err))
	}
	return nil
}

// roundTrips returns the nanoseconds of each request.
func roundTrips(ctx context.Context, l tcpLoad, address string) (samples, error) {
	times := make([]float64, l.n)
	err := session(ctx, l, address, requests, func(c *net.TCPConn) error {
		b := []byte{0}
		for i := -l.n / 10; i < l.n; i++ { // the first tenth warms up
			start := time.Now()
			if _, err := c.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, b); err != nil {
				return err
			}
			if i >= 0 {
				times[i] = float64(time.Since(start).Nanoseconds())
			}
		}
		return nil
	})
	return newSamples(times), err
}

// streamTime returns the seconds from the first byte to the acknowledgement of the last.
func streamTime(ctx context.Context, l tcpLoad, address string) (seconds float64, err error) {
	err = session(ctx, l, address, stream, func(c *net.TCPConn) error {
		chunk := bytes.Repeat([]byte{'.'}, 256<<10)
		start := time.Now()
		for left := l.bytes; left > 0; {
			n, err := c.Write(chunk[:min(left, int64(len(chunk)))])
			if err != nil {
				return err
			}
			left -= int64(n)
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, chunk[:1]); err != nil {
			return err
		}
		seconds = time.Since(start).Seconds()
		return nil
	})
	return seconds, err
}

// dial connects to an address over IPv4.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// dialWithin connects to a server that may still be starting.
func dialWithin(ctx context.Context, wait time.Duration, address string) (*net.TCPConn, error) {
	deadline := time.Now().Add(wait)
	for {
		var d net.Dialer
		d.Deadline = deadline.Add(time.Second)
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return nil, fmt.Errorf("connect (waited up to %v for a server): %w", wait, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
