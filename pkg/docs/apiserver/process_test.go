package apiserver

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestChild(t *testing.T) {
	dir := t.TempDir()
	c, err := start(dir, "sleeper", "/bin/sh", "-c", "echo up; sleep 1000 & echo said by a child; wait")
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.stop()
	select {
	case <-c.ended:
	default:
		t.Error("it hasn't ended")
	}

	c, err = start(dir, "failing", "/bin/sh", "-c", "echo first; for i in $(seq 50); do echo line $i; done; echo last >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	<-c.ended
	cause := errors.New("not ready")
	got := c.failure(cause)
	for _, want := range []string{"not ready", "failing ended (exit status 3)", "line 50", "last"} {
		if !strings.Contains(got.Error(), want) {
			t.Errorf("%v: want %q in it", got, want)
		}
	}
	if !errors.Is(got, cause) || strings.Contains(got.Error(), "first") {
		t.Errorf("%v", got)
	}

	if _, err := start(dir, "missing", "/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestReservePort(t *testing.T) {
	port, release, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if l, err := net.Listen("tcp", address); err == nil {
		_ = l.Close()
		t.Errorf("%s is reserved and can be listened on", address)
	}
	release()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
