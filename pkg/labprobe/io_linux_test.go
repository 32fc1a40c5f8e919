package labprobe

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestIO(t *testing.T) {
	dir := t.TempDir()
	for _, buffered := range []bool{true, false} {
		args := []string{"io", "--path", dir, "-n", "20", "--size", "65536"}
		if buffered {
			args = append(args, "--buffered")
		}
		report, _ := reportOf(t, args...)
		if report.Untestable != "" && !buffered { // the test's folder may be on such a file system
			if !strings.Contains(report.Untestable, "O_DIRECT") {
				t.Errorf("untestable: %s", report.Untestable)
			}
			continue
		}
		set, err := report.Result()
		if err != nil {
			t.Fatal(err)
		}
		if value[bool](t, set, "direct") == buffered {
			t.Errorf("buffered %v: direct is the same", buffered)
		}
		for _, which := range []string{"read", "write"} {
			least, median, high := value[float64](t, set, which+".min"), value[float64](t, set, which+".p50"), value[float64](t, set, which+".p95")
			if least <= 0 || median < least || high < median || value[float64](t, set, which+".rate") <= 0 {
				t.Errorf("%s: min %v, p50 %v, p95 %v", which, least, median, high)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The times are those of the requests: slow ones show, in the right quantile.
func TestIOTimes(t *testing.T) {
	n := 0
	slowTenth := func(b []byte, at int64) (int, error) {
		if at%ioAlign != 0 || at+int64(len(b)) > 65536 {
			t.Errorf("a request for %d bytes at %d", len(b), at)
		}
		if n++; n%10 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		return len(b), nil
	}
	times, err := ioTimes(t.Context(), ioOptions{n: 40, block: ioAlign, size: 65536}, make([]byte, ioAlign), slowTenth)
	if err != nil || len(times) != 40 {
		t.Fatalf("%d times, %v", len(times), err)
	}
	if times.quantile(0.95) < float64(5*time.Millisecond) || times.quantile(0.5) >= times.quantile(0.95) {
		t.Errorf("p50 %v, p95 %v", times.quantile(0.5), times.quantile(0.95))
	}
}

func TestIOBreaks(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--path", "/tmp", "-n", "0"}, {"--path", "/tmp", "--block", "100"}, {"--path", "/tmp", "--size", "5000"},
		{"--path", "/tmp", "--block", "65536", "--size", "4096"}, {"--path", "/tmp", "--size", "2147483648"}, {"x"},
	} {
		if _, err := ioOutputs(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if report, code := reportOf(t, "io", "--path", t.TempDir()+"/nosuch"); report.Error == "" || code != 1 {
		t.Errorf("a folder that isn't there: %+v, exit code %d", report, code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := runIO(ctx, []string{"--path", dir}); err == nil {
		t.Error("an interrupted run has evidence")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
