package main

import "testing"

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine uint64
		want    int64
	}{
		{"unknown", 0, 64 << 20},
		{"edge box", 2 << 30, 64 << 20},
		{"largest of the small", 4 << 30, 64 << 20},
		{"laptop", 16 << 30, 256 << 20},
	} {
		if got := memoryLimit(c.machine); got != c.want {
			t.Errorf("%s: memoryLimit(%d) = %d, want %d", c.name, c.machine, got, c.want)
		}
	}
}
