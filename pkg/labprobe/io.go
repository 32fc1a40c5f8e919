package labprobe

import (
	"fmt"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// ioCommand measures storage as fio does with iodepth=1, rw=randread or
// randwrite and direct=1: one request after another, past the page cache, so
// that what is timed is the way to the device and back.
var ioCommand = Command{
	Name: "io", Usage: "--path DIR [-n N] [--block BYTES] [--size BYTES] [--buffered]",
	Doc:     "latency of single reads and writes at random places of a file, past the page cache",
	Outputs: ioOutputs, Run: runIO, Exclusive: true,
}

type ioOptions struct {
	path           string
	n, block, size int
	buffered       bool
}

// ioAlign is what O_DIRECT wants buffers, lengths and places to be multiples
// of: the largest logical block size that disks have.
const ioAlign = 4096

func parseIO(args []string) (ioOptions, error) {
	var o ioOptions
	f := newFlags()
	f.StringVar(&o.path, "path", "", "folder of the file, which is made for the measurement and removed")
	f.IntVar(&o.n, "n", 500, "reads, and as many writes")
	f.IntVar(&o.block, "block", ioAlign, "bytes a request")
	f.IntVar(&o.size, "size", 8<<20, "bytes of the file")
	f.BoolVar(&o.buffered, "buffered", false, "through the page cache instead of past it")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	switch {
	case o.path == "":
		return o, fmt.Errorf("io wants --path DIR")
	case o.n < 1 || o.n > 1_000_000:
		return o, fmt.Errorf("io -n %d: want 1 to 1000000", o.n)
	case o.block < ioAlign || o.block%ioAlign != 0 || o.block > o.size:
		return o, fmt.Errorf("io --block %d: want a multiple of %d up to --size", o.block, ioAlign)
	case o.size%o.block != 0 || o.size > 1<<30:
		return o, fmt.Errorf("io --size %d: want a multiple of --block up to 1 GiB", o.size)
	}
	return o, nil
}

func ioOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseIO(args); err != nil {
		return nil, err
	}
	outputs := []evidence.Output{
		{Name: "direct", Type: evidence.Bool, Doc: "whether the requests went past the page cache (O_DIRECT)"},
		{Name: "device", Type: evidence.String, Doc: "major:minor of the file system's device, as stat(2) says it"},
	}
	for _, which := range []string{"read", "write"} {
		outputs = append(outputs,
			evidence.Output{Name: which + ".min", Type: evidence.Double, Unit: "ns/op", Doc: "fastest " + which},
			evidence.Output{Name: which + ".p50", Type: evidence.Double, Unit: "ns/op", Doc: "median " + which},
			evidence.Output{Name: which + ".p95", Type: evidence.Double, Unit: "ns/op", Doc: "95th percentile, nearest rank"},
			evidence.Output{Name: which + ".rate", Type: evidence.Double, Unit: "ops/s", Doc: "requests a second, one after another (IOPS at queue depth 1)"},
			evidence.Output{Name: which + ".bandwidth", Type: evidence.Double, Unit: "bytes/s", Doc: "bytes a second"},
		)
	}
	return outputs, nil
}
