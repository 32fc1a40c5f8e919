package kubelet

import (
	"bytes"
	"fmt"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sample is what kubelet's metrics say of one container.
type sample struct {
	// taken is when cAdvisor looked at the container, in ms of the node's
	// clock; 0 where it hasn't yet.
	taken int64
	// exposed says whether throttling is among what it gives.
	exposed   bool
	throttled time.Duration
	periods   int64
}

// parse reads a container's sample from /metrics/cadvisor (names are those of
// cAdvisor's docs/storage/prometheus.md).
func parse(text []byte, namespace, podName, container string) (sample, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return sample{}, fmt.Errorf("kubelet's metrics don't parse: %w", err)
	}
	of := func(name string) *dto.Metric {
		for _, m := range families[name].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["namespace"] == namespace && labels["pod"] == podName && labels["container"] == container {
				return m
			}
		}
		return nil
	}
	// Every container has this one: it says when, also for those that have
	// no throttling.
	usage := of("container_cpu_usage_seconds_total")
	seconds, periods := of("container_cpu_cfs_throttled_seconds_total"), of("container_cpu_cfs_throttled_periods_total")
	s := sample{taken: usage.GetTimestampMs()}
	if seconds != nil && periods != nil {
		s.exposed = true
		s.throttled = time.Duration(math.Round(seconds.GetCounter().GetValue() * float64(time.Second)))
		s.periods = int64(periods.GetCounter().GetValue())
	}
	return s, nil
}
