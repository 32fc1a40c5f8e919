package gomodule

import (
	"slices"
	"testing"
)

func TestCompiler(t *testing.T) {
	for _, c := range []struct {
		name      string
		available uint64
		cpus      int
		want      []string
	}{
		{"22 GiB for two CPUs", 22 << 30, 2, []string{"GOGC=800", "GOMEMLIMIT=7509MiB"}},
		{"6 GiB for four CPUs", 6 << 30, 4, []string{"GOGC=800", "GOMEMLIMIT=1228MiB"}},
		{"4 GiB for four CPUs", 4 << 30, 4, nil},
		{"unknown", 0, 4, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := compiler(c.available, c.cpus); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run("the user's "+name, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(name, "50")
			if got := Compiler(); got != nil {
				t.Errorf("got %q in place of what the user has set", got)
			}
		})
	}
}
