package labprobe

import (
	"math"
	"slices"
)

// samples are repeated measurements of one thing, in ascending order.
type samples []float64

func newSamples(values []float64) samples {
	s := slices.Clone(samples(values))
	slices.Sort(s)
	return s
}

// quantile by nearest rank: the smallest value that q of all are not above.
// There must be at least one sample.
func (s samples) quantile(q float64) float64 {
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return s[min(max(i, 0), len(s)-1)]
}

// noise is how far the median lies from the best run, in parts of the best.
// Other load only ever slows a run down, so the best run is nearest to the
// truth and a median near it says that the machine was quiet.
func (s samples) noise() float64 {
	if s[0] == 0 {
		return 0
	}
	return (s.quantile(0.5) - s[0]) / s[0]
}
