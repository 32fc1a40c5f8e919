package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/report"
)

// stepLimit bounds how long a step's check may take to be met after its
// command has ended.
const stepLimit = time.Minute

// runStep does the steps of a lab up to n for a person, as far as they aren't
// done; what they make stays.
func runStep(ctx context.Context, g *global, c *console, l *lab.Lab, n int, uf upFlags, cat catalogue, language report.Language) error {
	if err := stepOf(l, n); err != nil {
		return err
	}
	t := typist{steps: l.Spec.Steps, language: language, streams: streams{strings.NewReader(""), &lines{w: g.out}, g.err}}
	var cluster provision.Cluster
	if nodes := l.Spec.Needs.Nodes; nodes == nil || *nodes > 0 {
		var err error
		if cluster, err = upForPeople(ctx, c, l, uf); err != nil {
			return err
		}
		at, err := lookerOf(cluster)
		if err != nil {
			return err
		}
		if err := at.Ensure(ctx); err != nil {
			return provisionError(err, c)
		}
		t.at = at
		if t.steps, err = guide.Fill(t.steps, cluster); err != nil {
			return provisionError(err, c)
		}
	}
	if l.OnDocker() {
		t.at = &dockerLooker{options: uf.docker()}
	}
	d, err := newDesk(ctx, cluster, uf.clusterFlags, cat)
	if err != nil {
		return err
	}
	defer d.Close()
	t.run = func(command string) (int, error) { return d.run(ctx, t.streams, "sh", "-eu", "-c", command) }
	done, err := t.typeTo(ctx, n)
	if err != nil {
		return err
	}
	if !done {
		return exitWith(exitDiffers)
	}
	return nil
}

// upForPeople is the cluster that is up, or one that is brought up.
func upForPeople(ctx context.Context, c *console, l *lab.Lab, uf upFlags) (provision.Cluster, error) {
	labs, err := newLabs(uf.options())
	if err != nil {
		return nil, err
	}
	cluster, err := labs.Get(ctx, uf.name)
	switch {
	case errors.Is(err, provision.ErrNotFound):
		if n := l.Spec.Needs.Nodes; n != nil && labs.MakesNodes {
			uf.workers = max(uf.workers, *n-1)
		}
		return runUp(ctx, c, uf)
	case err != nil:
		return nil, provisionError(err, c)
	}
	return cluster, provisionError(labs.Load(ctx, cluster), c)
}

// typist types the steps of a lab.
type typist struct {
	streams
	steps    []lab.Step
	language report.Language
	at       guide.Looker // nil where no step has a check
	run      func(command string) (int, error)
}

// typeTo types the steps up to n, and says whether the last of them is done. A
// step that has a check and isn't done in time ends it. Earlier steps without
// a check are only for looking, and left out.
func (t *typist) typeTo(ctx context.Context, n int) (bool, error) {
	for i := range n {
		seen, err := guide.LookAt(ctx, t.steps, i, t.at)
		if err != nil {
			return false, withCode(exitProvision, err)
		}
		if seen.State == guide.Done || (seen.State == guide.Unchecked && i < n-1) {
			if err := t.say(seen); err != nil {
				return false, err
			}
			continue
		}
		code, err := t.do(i)
		if err != nil {
			return false, err
		}
		limit := stepLimit
		if code != 0 {
			limit = 0 // what is refused at once isn't waited for
		}
		if seen, err = guide.Await(ctx, t.steps, i, t.at, limit); err != nil {
			return false, withCode(exitProvision, err)
		}
		if err := t.say(seen); err != nil {
			return false, err
		}
		if seen.State != guide.Open {
			if err := t.look(i); err != nil {
				return false, err
			}
		}
		if seen.State == guide.Open || (seen.State == guide.Unchecked && code != 0) {
			return false, nil
		}
	}
	return true, nil
}

// do types the command of a step.
func (t *typist) do(i int) (code int, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d. %s\n", i+1, text(t.steps[i].Title, t.language))
	command := strings.TrimSpace(t.steps[i].Run)
	if command != "" {
		fmt.Fprintf(&b, "$ %s\n", strings.ReplaceAll(command, "\n", "\n  "))
	}
	if _, err := io.WriteString(t.out, b.String()); err != nil || command == "" {
		return 0, err
	}
	code, err = t.run(command)
	if l, ok := t.out.(*lines); ok && l.open && err == nil {
		_, err = io.WriteString(l, "\n")
	}
	if err == nil && code != 0 {
		_, err = fmt.Fprintf(t.out, "(exit code %d)\n", code)
	}
	return code, err
}

// look prints what to look at.
func (t *typist) look(i int) error {
	words := strings.Fields(strings.ReplaceAll(text(t.steps[i].Look, t.language), "`", ""))
	_, err := fmt.Fprintf(t.out, "              %s\n", strings.Join(words, " "))
	return err
}

// lines is a writer that knows whether a line is open, as a command leaves it
// that prints a value without a newline.
type lines struct {
	w    io.Writer
	open bool
}

func (l *lines) Write(b []byte) (int, error) {
	if len(b) > 0 {
		l.open = b[len(b)-1] != '\n'
	}
	return l.w.Write(b)
}

// say prints what the check says of a step.
func (t *typist) say(s guide.Step) error {
	return writeSteps(t.out, []guide.Step{s}, t.language)
}
