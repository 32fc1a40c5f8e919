package microvm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// kvmReady is how long a guest may take to its first process under KVM, where
// a second is much; a nested KVM may hang.
const kvmReady = 20 * time.Second

// kvm remembers what is wrong with this machine's KVM.
type kvm struct {
	// run is labprobe's kvm command.
	run func(ctx context.Context) (evidence.Set, error)

	mu     sync.Mutex
	tried  bool
	broken string // why it doesn't work; empty if it does as far as known
}

func runKVM(ctx context.Context) (evidence.Set, error) {
	c, err := labprobe.Lookup("kvm")
	if err != nil {
		return nil, err
	}
	return c.Run(ctx, nil)
}

// boot runs the machine under KVM. why says why KVM is no use here: it isn't
// there, it doesn't run a few instructions to their end, or it doesn't bring
// a guest to its first process.
func (k *kvm) boot(ctx context.Context, s spec, vm probe.MicroVM) (c console, why string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.tried {
		if k.broken, err = k.try(ctx); err != nil {
			return console{}, "", err
		}
		k.tried = true
	}
	if k.broken != "" {
		return console{}, k.broken, nil
	}
	argv, err := s.argv(ctx, vm, accelKVM)
	if err != nil {
		return console{}, "", err
	}
	c, err = run(ctx, argv, min(kvmReady, s.timeout), s.timeout)
	var failed *bootError
	if errors.As(err, &failed) && !failed.ready {
		k.broken = "KVM runs a few instructions here, but no guest: " + failed.Error()
		return console{}, k.broken, nil
	}
	return c, "", err
}

// try asks labprobe whether KVM works.
func (k *kvm) try(ctx context.Context) (broken string, err error) {
	set, err := k.run(ctx)
	var untestable *evidence.Untestable
	switch {
	case errors.As(err, &untestable):
		return untestable.Reason, nil
	case err != nil:
		return "", err
	}
	if outcome, _ := set.Get("run.outcome"); outcome.Value != "hlt" {
		detail, _ := set.Get("run.detail")
		return "KVM doesn't run a few instructions to their end here: " + outcome.Text() + ", " + detail.Text(), nil
	}
	return "", nil
}
