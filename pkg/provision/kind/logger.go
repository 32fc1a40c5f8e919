package kind

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"sigs.k8s.io/kind/pkg/log"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// phases are the status lines of kind's Create, in order; "Joining" comes
// only where there are workers.
var phases = []string{"Ensuring node image", "Preparing nodes", "Writing configuration", "Starting control-plane", "Installing CNI", "Installing StorageClass", "Joining worker nodes"}

// logger is kind's log as one step of progress; every line goes to the log
// file.
type logger struct {
	out   io.Writer
	step  progress.Step
	total int

	mu    sync.Mutex
	ended bool
}

var _ log.Logger = (*logger)(nil)

func newLogger(l progress.Log, cluster string, workers bool) *logger {
	total := len(phases)
	if !workers {
		total--
	}
	return &logger{out: l.Output(), step: l.Start("Creating cluster " + cluster), total: total}
}

// end ends the step; what kind says later goes to the file only.
func (l *logger) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.step.End(err)
}

func (l *logger) line(text string) {
	text = strings.TrimRight(text, "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintln(l.out, "kind:", text) // a full disk shows elsewhere
	if l.ended {
		return
	}
	if status, ok := strings.CutPrefix(text, " • "); ok {
		for i, phase := range phases {
			if strings.HasPrefix(status, phase) {
				l.step.Update(i, l.total, phase)
			}
		}
	}
}

// The methods of kind's log.Logger.

func (l *logger) Warn(m string)            { l.line("warning: " + m) }
func (l *logger) Warnf(f string, a ...any) { l.Warn(fmt.Sprintf(f, a...)) }
func (l *logger) Error(m string)           { l.line("error: " + m) }
func (l *logger) Errorf(f string, a ...any) {
	l.Error(fmt.Sprintf(f, a...))
}

// V takes every level: the file is there to hold all of it.
func (l *logger) V(log.Level) log.InfoLogger { return info{l} }

type info struct{ l *logger }

func (i info) Info(m string)            { i.l.line(m) }
func (i info) Infof(f string, a ...any) { i.l.line(fmt.Sprintf(f, a...)) }
func (i info) Enabled() bool            { return true }
