package compare

import "math/rand/v2"

// VisitsPerRound is how many Pods of each subject a round has: two, so that
// one can stand beside the other, and few rounds have samples enough.
const VisitsPerRound = 2

// Order is the order of visits, a list of indices of subjects a round. The
// warm-up comes first and has each subject once; every other round has each
// VisitsPerRound times. The order within a round is shuffled, so that drift of
// the machine and what one runtime leaves to the next hit all alike.
func Order(seed uint64, subjects, rounds int) [][]int {
	random := rand.New(rand.NewPCG(seed, 0))
	shuffled := func(visits int) []int {
		order := make([]int, 0, subjects*visits)
		for i := range subjects * visits {
			order = append(order, i%subjects)
		}
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		return order
	}
	order := [][]int{shuffled(1)}
	for range rounds {
		order = append(order, shuffled(VisitsPerRound))
	}
	return order
}
