package pod

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

//go:embed side.sh
var sideScript string

// side is what the node knows about a Pod.
type side struct {
	// clock is the node's clock, read while before and after were labctl's.
	before, clock, after time.Time
	times                containerTimes
	// pid is the main container's process, 0 if it has ended.
	pid int
	// runtime is containerd's type of the runtime: io.containerd.runc.v2, …
	runtime string
	// network is the path of the Pod's network namespace, "" for the node's.
	network   string
	processes []process
}

// containerTimes are containerd's times of a Pod, by the node's clock; zero
// where it didn't come so far.
type containerTimes struct {
	sandbox           time.Time // the sandbox's container was recorded
	created           time.Time // the main container was created
	started, finished time.Time
}

// look asks the node about the container.
func look(ctx context.Context, place probe.Place, containerID string, processes bool) (side, error) {
	what := "times"
	if processes {
		what = "processes"
	}
	before := time.Now()
	exit, err := place.Run(ctx, nil, "sh", "-c", sideScript, "sh", containerID, what)
	after := time.Now()
	if err != nil {
		return side{}, fmt.Errorf("look at container %s on %s: %w", containerID, place.Name(), err)
	}
	if exit.Code != 0 {
		return side{}, fmt.Errorf("look at container %s on %s: exit code %d: %s", containerID, place.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	s, err := parseSide(string(exit.Stdout))
	if err != nil {
		return side{}, fmt.Errorf("look at container %s on %s: %w", containerID, place.Name(), err)
	}
	s.before, s.after = before, after
	return s, nil
}

// record is the part that matters of what "ctr containers info" prints: the
// container's record in containerd.
type record struct {
	CreatedAt time.Time
	Runtime   struct{ Name string }
	Spec      struct {
		Linux struct {
			Namespaces []struct{ Type, Path string }
		}
	}
}

// status is the CRI plugin's checkpoint of a container's status (containerd,
// internal/cri/store/container/status.go); times are Unix nanoseconds.
type status struct {
	Version                          string
	Pid                              int
	CreatedAt, StartedAt, FinishedAt int64
}

func parseSide(out string) (side, error) {
	sections := map[string]string{}
	var name string
	for line := range strings.Lines(out) {
		if mark, ok := strings.CutPrefix(line, "@"); ok {
			var rest string
			name, rest, _ = strings.Cut(strings.TrimSpace(mark), " ")
			sections[name] = rest
			continue
		}
		sections[name] += line
	}
	var s side
	ns, err := strconv.ParseInt(sections["clock"], 10, 64)
	if err != nil {
		return side{}, fmt.Errorf("the node's clock: %w", err)
	}
	s.clock = time.Unix(0, ns)
	var container, sandbox record
	var st status
	for name, into := range map[string]any{"container": &container, "sandbox": &sandbox, "status": &st} {
		if err := json.Unmarshal([]byte(sections[name]), into); err != nil {
			return side{}, fmt.Errorf("containerd's %s: %w", name, err)
		}
	}
	if st.Version != "v1" {
		return side{}, fmt.Errorf("containerd's container status has version %q, this labctl reads v1", st.Version)
	}
	s.runtime, s.pid = container.Runtime.Name, st.Pid
	for _, ns := range sandbox.Spec.Linux.Namespaces {
		if ns.Type == "network" {
			s.network = ns.Path
		}
	}
	s.times = containerTimes{sandbox: sandbox.CreatedAt, created: unixNano(st.CreatedAt), started: unixNano(st.StartedAt), finished: unixNano(st.FinishedAt)}
	if list, ok := sections["processes"]; ok {
		if s.processes = parseProcesses(list); len(s.processes) == 0 {
			return side{}, errors.New("no processes")
		}
	}
	return s, nil
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
