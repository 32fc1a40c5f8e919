package labprobe

import (
	"context"
	"os"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runEnv(_ context.Context, args []string) (evidence.Set, error) {
	outputs, err := envOutputs(args)
	if err != nil {
		return nil, err
	}
	var set, unset []string
	for _, name := range args {
		if value, ok := os.LookupEnv(name); ok {
			set = append(set, name+"="+value)
		} else {
			unset = append(unset, name)
		}
	}
	r := newRecord(outputs)
	r.put("set", set, "program", "environment")
	r.put("unset", unset, "program", "environment")
	return r.result()
}
