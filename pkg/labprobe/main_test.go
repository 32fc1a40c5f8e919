package labprobe

import (
	"context"
	"os"
	"testing"
)

// TestMain lets commands that start themselves again (/proc/self/exe) do so
// from the test binary: with a command's name it is labprobe.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if _, err := Lookup(os.Args[1]); err == nil {
			os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
		}
	}
	os.Exit(m.Run())
}
