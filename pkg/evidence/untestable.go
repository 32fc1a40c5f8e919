package evidence

import "fmt"

// Untestable says that this host or cluster can't show what a probe looks
// for. It is not a failure of the probe: the verdict of the claim is
// untestable, with this reason.
type Untestable struct{ Reason string }

func (u *Untestable) Error() string { return "untestable here: " + u.Reason }

// Untestablef makes an *Untestable.
func Untestablef(format string, args ...any) *Untestable {
	return &Untestable{Reason: fmt.Sprintf(format, args...)}
}
