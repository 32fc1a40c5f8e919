package labprobe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// processCommands are what a container's life is watched with: they run on
// every platform and their exit codes and times are the evidence.
var processCommands = []Command{
	{
		Name: "hello", Usage: "[WORD…]", Doc: "says hello, or the words",
		Outputs: helloOutputs, Run: runHello,
	},
	{
		Name: "exit", Usage: "CODE", Doc: "ends with an exit code",
		Outputs: exitOutputs, Run: runExit, code: exitCode,
	},
	{
		Name: "sleep", Usage: "DURATION", Doc: "sleeps, and ends early and orderly on SIGTERM",
		Outputs: sleepOutputs, Run: runSleep,
	},
}

func helloOutputs([]string) ([]evidence.Output, error) {
	return []evidence.Output{{Name: "hello", Type: evidence.String, Doc: "the words"}}, nil
}

func runHello(_ context.Context, args []string) (evidence.Set, error) {
	outputs, err := helloOutputs(args)
	if err != nil {
		return nil, err
	}
	words := strings.Join(args, " ")
	if words == "" {
		words = "hello"
	}
	r := newRecord(outputs)
	r.put("hello", words, "program", "arguments")
	return r.result()
}

func exitOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseExit(args); err != nil {
		return nil, err
	}
	return []evidence.Output{{Name: "exit.code", Type: evidence.Int, Doc: "the code that labprobe ends with"}}, nil
}

// parseExit accepts what wait(2) can report, 0 to 255.
func parseExit(args []string) (int, error) {
	if len(args) != 1 {
		return 0, fmt.Errorf("exit wants one argument, the code; got %q", args)
	}
	code, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return 0, fmt.Errorf("exit code %q: want a number from 0 to 255", args[0])
	}
	return int(code), nil
}

func runExit(_ context.Context, args []string) (evidence.Set, error) {
	outputs, err := exitOutputs(args)
	if err != nil {
		return nil, err
	}
	code, err := parseExit(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("exit.code", code, "program", "arguments")
	return r.result()
}

func exitCode(set evidence.Set) int {
	v, _ := set.Get("exit.code")
	code, _ := v.Value.(int64)
	return int(code)
}

func sleepOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseSleep(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "slept", Type: evidence.Duration, Doc: "how long it slept"},
		{Name: "interrupted", Type: evidence.Bool, Doc: "whether a signal ended it early"},
	}, nil
}

func parseSleep(args []string) (time.Duration, error) {
	if len(args) != 1 {
		return 0, fmt.Errorf("sleep wants one argument, a duration like 30s; got %q", args)
	}
	d, err := time.ParseDuration(args[0])
	if err != nil || d < 0 {
		return 0, fmt.Errorf("sleep %q: want a duration like 30s", args[0])
	}
	return d, nil
}

func runSleep(ctx context.Context, args []string) (evidence.Set, error) {
	outputs, err := sleepOutputs(args)
	if err != nil {
		return nil, err
	}
	d, err := parseSleep(args)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	interrupted := false
	select {
	case <-timer.C:
	case <-ctx.Done():
		interrupted = true
	}
	r := newRecord(outputs)
	r.put("slept", time.Since(start), "clock", "monotonic")
	r.put("interrupted", interrupted, "program", "SIGTERM or SIGINT")
	return r.result()
}
