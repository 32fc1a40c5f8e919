// Command bench times labctl beside others, alternating in one run, and prints
// ratios. Its parts are cluster: labctl up beside plain kind, with the same
// node image and engine, and what labctl itself takes, its peak memory and the
// time of labctl list; and docs: the schema phase of labctl docs validate
// beside kubeconform.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/kind/pkg/cluster"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
)

const (
	plainName  = "labctl-bench-plain"
	labctlName = "labctl-bench"
	// readyLimit is how long plain kind waits for the node to be Ready, as
	// kind's own --wait does.
	readyLimit = 5 * time.Minute
)

func main() { os.Exit(bench()) }

func bench() int {
	n := flag.Int("n", 5, "runs of each")
	part := flag.String("part", "", "cluster or docs; both if it isn't given")
	binary := flag.String("labctl", "bin/labctl", "labctl to time")
	folder := flag.String("docs", cmp.Or(os.Getenv("LABCTL_DOCS"), "../shared/corpus"), "documents whose objects are checked as well, if they are there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *part != "" && *part != "cluster" && *part != "docs" {
		fmt.Fprintf(os.Stderr, "bench: no part %q: cluster or docs\n", *part)
		return 2
	}
	if *part != "cluster" {
		if err := benchDocs(ctx, *n, *folder); err != nil {
			fmt.Fprintln(os.Stderr, "bench, docs:", err)
			return 1
		}
	}
	if *part != "docs" {
		if err := benchCluster(ctx, *n, *binary); err != nil {
			fmt.Fprintln(os.Stderr, "bench, cluster:", err)
			return 1
		}
	}
	return 0
}

func benchCluster(ctx context.Context, n int, binary string) error {
	dir, err := os.MkdirTemp("", "labctl-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	e, err := engine.Choose(ctx, engine.Options{}, progress.Discard)
	if err != nil {
		return err
	}
	image, err := nodeimage.Ensure(ctx, e, nodeimage.Options{}, progress.Discard)
	if err != nil {
		return err
	}
	// kind's library runs the engine in this process's environment.
	for _, kv := range e.Env {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	plain := cluster.NewProvider(providerOption(e.Name))
	var kindTimes, upTimes []time.Duration
	var peak int64 // KiB
	for i := range n {
		d, err := timed(func() error {
			return plain.Create(plainName, cluster.CreateWithNodeImage(image.Reference), cluster.CreateWithWaitForReady(readyLimit),
				cluster.CreateWithKubeconfigPath(kubeconfig), cluster.CreateWithDisplayUsage(false), cluster.CreateWithDisplaySalutation(false))
		})
		if err := firstOf(err, plain.Delete(plainName, kubeconfig), ctx.Err()); err != nil {
			return fmt.Errorf("plain kind: %w", err)
		}
		kindTimes = append(kindTimes, d)
		var rss int64
		d, err = timed(func() error {
			rss, err = labctl(ctx, binary, "up", "--name", labctlName, "--kubeconfig", kubeconfig, "--engine", e.Name)
			return err
		})
		_, downErr := labctl(context.WithoutCancel(ctx), binary, "down", "--name", labctlName, "--kubeconfig", kubeconfig, "--engine", e.Name)
		if err := firstOf(err, downErr, ctx.Err()); err != nil {
			return fmt.Errorf("labctl: %w", err)
		}
		upTimes = append(upTimes, d)
		peak = max(peak, rss)
		fmt.Fprintf(os.Stderr, "run %d of %d: plain kind %.1fs, labctl up %.1fs\n", i+1, n, kindTimes[i].Seconds(), d.Seconds())
	}
	var listTimes []time.Duration
	for range 20 {
		d, err := timed(func() error { _, err := labctl(ctx, binary, "list"); return err })
		if err != nil {
			return err
		}
		listTimes = append(listTimes, d)
	}
	fmt.Printf("engine %s, node image %s, %d runs of each, alternating\n", e.Name, image.Reference, n)
	fmt.Printf("%-28s %8s %8s %8s\n", "", "min", "median", "max")
	row("plain kind create cluster", kindTimes)
	row("labctl up, 3 classes proved", upTimes)
	row("labctl list", listTimes)
	fmt.Printf("ratio of the medians, labctl up to plain kind: %.2f\n", float64(median(upTimes))/float64(median(kindTimes)))
	fmt.Printf("peak memory of labctl up: %d MiB\n", peak/1024)
	return nil
}

func providerOption(name string) cluster.ProviderOption {
	switch name {
	case engine.Podman:
		return cluster.ProviderWithPodman()
	case engine.Nerdctl:
		return cluster.ProviderWithNerdctl(engine.Nerdctl)
	default:
		return cluster.ProviderWithDocker()
	}
}

func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// labctl runs the binary and returns its peak resident memory in KiB
// (getrusage(2), ru_maxrss).
func labctl(ctx context.Context, binary string, args ...string) (int64, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", binary, strings.Join(args, " "), err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, nil
	}
	return usage.Maxrss, nil
}

func row(name string, d []time.Duration) {
	fmt.Printf("%-28s %7.2fs %7.2fs %7.2fs\n", name, slices.Min(d).Seconds(), median(d).Seconds(), slices.Max(d).Seconds())
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
