package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Node is the machine that was measured on.
type Node struct {
	Name   string `json:"name"`
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// CPU is the processor's model, empty where it doesn't show.
	CPU  string `json:"cpu,omitempty"`
	CPUs int    `json:"cpus"`
	// Memory in bytes.
	Memory int64 `json:"memory"`
	// Hypervisor's name, empty for none or one that doesn't show.
	Hypervisor string `json:"hypervisor,omitempty"`
	// Before and After the measurements, while labctl measured nothing.
	Before Rest `json:"before"`
	After  Rest `json:"after"`
	// Steal is the share of CPU time that the hypervisor gave to others, from
	// Before to After.
	Steal float64 `json:"steal"`
	// Loop is a fixed loop on the node, outside of any Pod, before each round
	// and after the last.
	Loop Loop `json:"loop"`
	// Noisy says that the machine wasn't quiet, Noise what showed it.
	Noisy bool     `json:"noisy"`
	Noise []string `json:"noise,omitempty"`
}

// Rest is how busy the machine is by itself.
type Rest struct {
	// Load are the load averages of 1, 5 and 15 minutes, in tasks.
	Load []float64 `json:"load"`
	// Busy is the share of CPU time that was not idle during one second.
	Busy float64 `json:"busy"`
}

// Loop are the times of the fixed loop.
type Loop struct {
	// Command is labprobe's.
	Command string `json:"command"`
	// Unit of Best and Medians: ns/op.
	Unit string `json:"unit"`
	// Medians are a reading each, in order; Best is the best round of all.
	Medians []float64 `json:"medians"`
	Best    float64   `json:"best"`
	// Spread is (greatest median - best) / best.
	Spread float64 `json:"spread"`
}

// Add takes one reading.
func (l *Loop) Add(best, median float64) {
	if len(l.Medians) == 0 || best < l.Best {
		l.Best = best
	}
	l.Medians = append(l.Medians, median)
	l.Spread = (slices.Max(l.Medians) - l.Best) / l.Best
}

// What a quiet machine stays below. A control plane that idles takes a tenth
// of two small cores.
const (
	noisySpread = 0.10
	noisyBusy   = 0.25
	noisySteal  = 0.02
)

// Judge says whether the machine was quiet.
func (n *Node) Judge() {
	n.Noise = nil
	say := func(format string, args ...any) { n.Noise = append(n.Noise, fmt.Sprintf(format, args...)) }
	if n.Loop.Spread > noisySpread {
		say("the same loop took up to %.0f %% longer than at best", 100*n.Loop.Spread)
	}
	for _, r := range []struct {
		when string
		Rest
	}{{"before", n.Before}, {"after", n.After}} {
		if r.Busy > noisyBusy {
			say("the CPUs were busy for %.0f %% of the time %s the measurements", 100*r.Busy, r.when)
		}
	}
	if n.Steal > noisySteal {
		say("the hypervisor took %.1f %% of the CPU time for others", 100*n.Steal)
	}
	n.Noisy = len(n.Noise) > 0
}

// RestScript prints what ParseRest reads: it takes a second, in which the
// machine is left alone.
const RestScript = `cat /proc/loadavg; head -n 1 /proc/stat; sleep 1; head -n 1 /proc/stat`

// CPUTime is the first line of /proc/stat (proc(5)), in ticks of all CPUs.
type CPUTime struct{ Total, Idle, Steal float64 }

// ParseRest reads the output of RestScript. The time is that of the last line.
func ParseRest(out string) (Rest, CPUTime, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		return Rest{}, CPUTime{}, fmt.Errorf("the node's load: want 3 lines, got %.200q", out)
	}
	var rest Rest
	load, err := numbers(strings.Fields(lines[0]), 3)
	if err != nil {
		return rest, CPUTime{}, fmt.Errorf("/proc/loadavg: %w", err)
	}
	rest.Load = load
	first, err := parseCPUTime(lines[1])
	if err != nil {
		return rest, CPUTime{}, err
	}
	last, err := parseCPUTime(lines[2])
	if err != nil {
		return rest, CPUTime{}, err
	}
	if passed := last.Total - first.Total; passed > 0 {
		rest.Busy = 1 - (last.Idle-first.Idle)/passed
	}
	return rest, last, nil
}

// StealShare is the share of steal between two readings.
func StealShare(before, after CPUTime) float64 {
	if after.Total <= before.Total {
		return 0
	}
	return max(0, (after.Steal-before.Steal)/(after.Total-before.Total))
}

// parseCPUTime reads "cpu user nice system idle iowait irq softirq steal …".
// The guests' time that may follow is in user and nice already.
func parseCPUTime(line string) (CPUTime, error) {
	words := strings.Fields(line)
	if len(words) < 9 || words[0] != "cpu" {
		return CPUTime{}, fmt.Errorf("/proc/stat: its first line is %.100q", line)
	}
	n, err := numbers(words[1:], 8)
	if err != nil {
		return CPUTime{}, fmt.Errorf("/proc/stat: %w", err)
	}
	t := CPUTime{Idle: n[3] + n[4], Steal: n[7]}
	for _, ticks := range n {
		t.Total += ticks
	}
	return t, nil
}

func numbers(words []string, n int) ([]float64, error) {
	if len(words) < n {
		return nil, fmt.Errorf("%d numbers of %d: %q", len(words), n, words)
	}
	out := make([]float64, n)
	for i := range out {
		var err error
		if out[i], err = strconv.ParseFloat(words[i], 64); err != nil {
			return nil, err
		}
	}
	return out, nil
}
