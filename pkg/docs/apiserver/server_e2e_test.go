//go:build e2e

package apiserver

import (
	"context"
	"testing"
	"time"
)

func begin(t *testing.T, o Options) *Server {
	t.Helper()
	t.Setenv(AssetsVariable, "")
	before := time.Now()
	s, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%s was ready after %s", s.Version(), time.Since(before).Round(time.Millisecond))
	return s
}

func TestStart(t *testing.T) {
	s := begin(t, Options{})
	if s.Minor() != "1.37" {
		t.Error(s.Version())
	}
}

func TestReset(t *testing.T) {
	s := begin(t, Options{})
	ctx := t.Context()
	at := time.Now()
	lap := func(what string) { t.Logf("%-12s %s", what, time.Since(at).Round(10*time.Microsecond)); at = time.Now() }
	if err := s.Base(ctx); err != nil {
		t.Fatal(err)
	}
	lap("Base")
	for range 5 {
		if err := s.Namespace(ctx, "demo"); err != nil {
			t.Fatal(err)
		}
		lap("Namespace")
		if err := s.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		lap("Reset")
		if err := s.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		lap("empty Reset")
	}
}
