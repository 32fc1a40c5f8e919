//go:build linux && !amd64

package labprobe

import (
	"encoding/json"
	"io"
)

// kvmMachine: the guest program is for x86.
func kvmMachine(out io.Writer) {
	_ = json.NewEncoder(out).Encode(kvmRun{
		Outcome: kvmFailed, Detail: "labprobe has a guest program for x86-64 only", Stage: "start", Reason: -1, Port: -1, Memory: -1,
	})
}
