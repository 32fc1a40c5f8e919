package labprobe

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSplitHold(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		hold time.Duration
		rest []string
		err  string
	}{
		{name: "none", args: []string{"hello", "-hold", "1m"}, rest: []string{"hello", "-hold", "1m"}},
		{name: "before the command", args: []string{"-hold", "90s", "hello"}, hold: 90 * time.Second, rest: []string{"hello"}},
		{name: "no duration", args: []string{"-hold"}, err: "wants a duration"},
		{name: "no unit", args: []string{"-hold", "5", "hello"}, err: `"5"`},
		{name: "negative", args: []string{"-hold", "-5s", "hello"}, err: `"-5s"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			hold, rest, err := splitHold(c.args)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one that contains %q", err, c.err)
				}
				return
			}
			if err != nil || hold != c.hold || !slices.Equal(rest, c.rest) {
				t.Errorf("got %v %q %v, want %v %q", hold, rest, err, c.hold, c.rest)
			}
		})
	}
}

// The report must be out before the wait, and the end of the context ends it.
func TestHoldPrintsFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	out := writer(func(b []byte) {
		if _, err := Parse(b); err != nil {
			t.Error(err)
		}
		cancel()
	})
	if code := Main(ctx, []string{"-hold", "1h", "hello"}, out, &bytes.Buffer{}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if ctx.Err() == nil {
		t.Error("ended without a report")
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
