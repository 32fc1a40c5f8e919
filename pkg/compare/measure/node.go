package measure

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// loop is the labprobe command of the fixed loop: a fifth of a second.
var loop = []string{"cpu", "--rounds", "10", "--duration", "20ms"}

// nodeWatch gathers the node's side of a comparison.
type nodeWatch struct {
	place probe.Place
	node  compare.Node
	cpu   compare.CPUTime // before
}

var _ watcher = (*nodeWatch)(nil)

// lookAt reads what the node is, and how busy it is before anything is
// measured.
func lookAt(ctx context.Context, place probe.Place) (*nodeWatch, error) {
	w := &nodeWatch{place: place}
	w.node.Name = strings.TrimPrefix(place.Name(), "node/")
	w.node.Loop.Command, w.node.Loop.Unit = "labprobe "+strings.Join(loop, " "), "ns/op"
	hardware, err := pod.Labprobe(ctx, place, "hardware")
	if err != nil {
		return nil, err
	}
	w.node.CPU, w.node.Hypervisor = text(hardware, "cpu.model"), text(hardware, "hypervisor.name")
	facts, err := w.run(ctx, "uname -m; uname -r; getconf _NPROCESSORS_ONLN; getconf _PHYS_PAGES; getconf PAGE_SIZE")
	if err != nil {
		return nil, err
	}
	if err := w.facts(facts); err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	w.node.Before, w.cpu, err = w.rest(ctx)
	return w, err
}

func (w *nodeWatch) facts(out string) error {
	words := strings.Fields(out)
	if len(words) != 5 {
		return fmt.Errorf("want architecture, kernel, processors, pages and their size, got %.200q", out)
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(words[2+i], 10, 64); err != nil {
			return err
		}
	}
	w.node.Arch, w.node.Kernel, w.node.CPUs, w.node.Memory = words[0], words[1], int(n[0]), n[1]*n[2]
	return nil
}

func text(set evidence.Set, name string) string {
	v, _ := set.Get(name)
	s, _ := v.Value.(string) // "" where the place doesn't show it
	return s
}

// read times the fixed loop.
func (w *nodeWatch) read(ctx context.Context) error {
	set, err := pod.Labprobe(ctx, w.place, loop...)
	if err != nil {
		return err
	}
	best, ok := set.Get("cost.min")
	rate, okRate := set.Get("rate.p50")
	b, isDouble := best.Value.(float64)
	r, isRate := rate.Value.(float64)
	if !ok || !okRate || !isDouble || !isRate || b <= 0 || r <= 0 {
		return fmt.Errorf("%s: labprobe %s gave no times", w.place.Name(), strings.Join(loop, " "))
	}
	w.node.Loop.Add(b, 1e9/r)
	return nil
}

// end reads how busy the node is afterwards, and judges.
func (w *nodeWatch) end(ctx context.Context) (compare.Node, error) {
	after, cpu, err := w.rest(ctx)
	if err == nil {
		w.node.After, w.node.Steal = after, compare.StealShare(w.cpu, cpu)
	}
	w.node.Judge()
	return w.node, err
}

func (w *nodeWatch) rest(ctx context.Context) (compare.Rest, compare.CPUTime, error) {
	out, err := w.run(ctx, compare.RestScript)
	if err != nil {
		return compare.Rest{}, compare.CPUTime{}, err
	}
	rest, cpu, err := compare.ParseRest(out)
	if err != nil {
		err = fmt.Errorf("%s: %w", w.place.Name(), err)
	}
	return rest, cpu, err
}

func (w *nodeWatch) run(ctx context.Context, script string) (string, error) {
	exit, err := w.place.Run(ctx, nil, "sh", "-euc", script)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", w.place.Name(), err)
	}
	if exit.Code != 0 {
		return "", fmt.Errorf("look at %s: exit code %d: %s", w.place.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(exit.Stdout), nil
}
