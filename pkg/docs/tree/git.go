package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// changedSince gives the paths below a folder that differ from the merge base
// of a revision and HEAD, committed or not, and those that Git doesn't know.
func changedSince(ctx context.Context, dir, revision string) (map[string]bool, error) {
	changed := map[string]bool{}
	for _, args := range [][]string{
		{"ls-files", "-z", "--others", "--exclude-standard", "--", "."},
		// --end-of-options: a revision is none, even if it begins with "-".
		{"diff", "--name-only", "-z", "--relative", "--no-ext-diff", "--diff-filter=d", "--merge-base", "--end-of-options", revision, "--", "."},
	} {
		out, err := git(ctx, dir, args...)
		if err != nil {
			return nil, fmt.Errorf("documents changed since %q: %w", revision, err)
		}
		for p := range strings.SplitSeq(out, "\x00") {
			changed[p] = true
		}
	}
	return changed, nil
}

// git runs Git in a folder and gives what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	// fsmonitor is a program that a repository may name.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-pager", "-c", "core.fsmonitor=false"}, args...)...)
	// A hook of Git sets GIT_DIR and more, for another folder than this one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("git isn't on PATH; install it, or leave the revision away to take all documents")
	}
	said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	if said == "" {
		said = err.Error()
	}
	return "", fmt.Errorf("git: %s%s", strings.TrimPrefix(said, "fatal: "), advice(said))
}

// advice says what to do about the errors of Git that a user meets.
func advice(said string) string {
	switch {
	case strings.Contains(said, "not a git repository"):
		return "; run labctl on a folder of a clone"
	case strings.Contains(said, "no merge base"):
		return "; fetch more of the history (fetch-depth: 0 of actions/checkout)"
	case strings.Contains(said, "bad revision"), strings.Contains(said, "ambiguous argument"), strings.Contains(said, "unknown revision"):
		return "; fetch it first, as origin/main for example"
	}
	return ""
}
