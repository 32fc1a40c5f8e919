package labprobe

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

const symlink = fs.ModeSymlink | 0o777

func TestGuestOrder(t *testing.T) {
	cases := []GuestOrder{
		{Args: []string{"hardware"}, Modules: "virtio"},
		{Args: []string{"kernel-log", "--match", `two words "quoted" — 中文`}, Disks: 2, Modules: "emulated"},
	}
	for _, want := range cases {
		words, err := want.KernelArguments()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseKernelArguments("console=ttyS0 quiet " + words + " -- init\n")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := (GuestOrder{Args: []string{strings.Repeat("x", 2000)}}).KernelArguments(); err == nil {
		t.Error("an order longer than a kernel command line was accepted")
	}
}

func TestGuestOrderRefused(t *testing.T) {
	cases := []struct{ cmdline, want string }{
		{"console=ttyS0 root=/dev/vda", "has no labctl.run="},
		{"labctl.run=!!", "labctl.run=!!"},
		{"labctl.run=aGFsbG8", "labctl.run=aGFsbG8"}, // no JSON
		{"labctl.disks=many labctl.run=W10", "labctl.disks=many"},
	}
	for _, c := range cases {
		if _, err := parseKernelArguments(c.cmdline); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.cmdline, err, c.want)
		}
	}
}

func TestParseGuestReady(t *testing.T) {
	want := GuestReady{Guest: Version, Uptime: 900 * time.Millisecond, Modules: []string{"00-virtio_mmio"}, Failed: []string{"01-x: exec format error"}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"", "[    1.2] a message without its line end"} {
		if got, ok := ParseGuestReady(before + string(b)); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("after %q: got %+v, %v", before, got, ok)
		}
	}
	for _, line := range []string{"", "Linux version", `{"guest":"v9"}`, `{"guest":"v1"`, `{"labprobe":"v1"}`} {
		if got, ok := ParseGuestReady(line); ok {
			t.Errorf("%q was taken for %+v", line, got)
		}
	}
}
