package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

const (
	// standLimit is how long a Pod may take until it has done its work.
	standLimit = 90 * time.Second
	// lifeLimit is how long it may stand: a round on a slow machine.
	lifeLimit = "10m"
)

// work is the labprobe command of every Pod: some 0.6 s.
var work = []string{"work", "--rounds", "5", "--duration", "25ms"}

// clusterPods makes Pods by the probe family pod.
type clusterPods struct {
	env  probe.Environment
	node string
}

var _ pods = (*clusterPods)(nil)

// params are the family's parameters (docs/probes.md).
func params(s compare.Subject, node string) ([]byte, error) {
	p := map[string]any{
		"runtime": s.Runtime, "labprobe": work, "observe": true,
		"nodeName": node, "timeout": lifeLimit,
	}
	if s.Class != "" {
		p["class"] = s.Class
	}
	return json.Marshal(p)
}

func (c *clusterPods) stand(ctx context.Context, s compare.Subject) (standing, error) {
	raw, err := params(s, c.node)
	if err != nil {
		return nil, err
	}
	p, err := pod.New(raw)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancelCause(ctx)
	h := &held{release: make(chan struct{}), done: make(chan struct{}), cancel: cancel}
	up := make(chan pod.Standing, 1)
	// What is measured beside the Pod is nothing: the Pod stands meanwhile.
	err = p.AddBeside(func(ctx context.Context, _ kubernetes.Interface, s pod.Standing) (evidence.Set, error) {
		up <- s
		select {
		case <-h.release:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(h.done)
		h.set, h.err = p.Run(life, c.env)
	}()
	limit := time.NewTimer(standLimit)
	defer limit.Stop()
	select {
	case h.Standing = <-up:
		return h, nil
	case <-h.done:
	case <-limit.C:
		cancel(fmt.Errorf("the Pod hadn't done its work after %s", standLimit))
		<-h.done
	}
	cancel(nil)
	if h.err == nil { // can't be: it would stand
		return nil, fmt.Errorf("the Pod ended by itself")
	}
	return nil, h.err
}

// held is a Pod that is held standing by a probe that runs beside.
type held struct {
	pod.Standing
	release  chan struct{}
	released bool
	done     chan struct{}
	cancel   context.CancelCauseFunc
	// set and err are the probe's, once done is closed.
	set evidence.Set
	err error
}

func (h *held) memory(ctx context.Context) (int64, error) { return h.Memory(ctx) }

// end may be called again. The probe deletes the Pod, also when ctx has ended.
func (h *held) end(context.Context) (evidence.Set, error) {
	if !h.released {
		h.released = true
		close(h.release)
	}
	<-h.done
	h.cancel(nil)
	return h.set, h.err
}
