package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/report"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// errNothingFailed ends --failed-only where all went well.
var errNothingFailed = errors.New("nothing differed or broke")

// lastPath is the file with the result of the last run on a cluster.
func lastPath(f clusterFlags) string {
	return filepath.Join(stateDir(), "results", f.provider+"-"+f.name+".json")
}

// keepLast keeps a result, whole or not at all.
func keepLast(path string, r result.Result) error {
	b, err := report.Data("json", r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o644)
}

// readLast reads the result of the last run.
func readLast(path string) (result.Result, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return result.Result{}, errors.New("--failed-only: no run of this cluster is known; run labs first")
	}
	if err != nil {
		return result.Result{}, fmt.Errorf("--failed-only: %w", err)
	}
	r, err := result.Read(b)
	if err != nil {
		return r, fmt.Errorf("--failed-only: %s: %w; run labs again", path, err)
	}
	return r, nil
}

// failedOf are the labs that have claims which failed in a run, and the ids of
// these claims. Without one it is errNothingFailed.
func failedOf(labs []*lab.Lab, last result.Result) ([]*lab.Lab, []string, error) {
	failed := last.Failed()
	var chosen []*lab.Lab
	var ids []string
	for _, l := range labs {
		n := len(ids)
		for _, c := range l.Spec.Claims {
			if slices.Contains(failed, c.ID) {
				ids = append(ids, c.ID)
			}
		}
		if len(ids) > n {
			chosen = append(chosen, l)
		}
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("%w in these labs in the last run (%s)", errNothingFailed, last.Started.Local().Format(time.DateTime))
	}
	return chosen, ids, nil
}
