package compare

import (
	"strings"
	"testing"
)

const quietRest = `0.52 0.60 0.71 2/345 6789
cpu  1000 0 500 8000 100 0 50 10 0 0
cpu  1005 0 505 8180 100 0 50 10 0 0
`

func TestParseRest(t *testing.T) {
	rest, cpu, err := ParseRest(quietRest)
	if err != nil {
		t.Fatal(err)
	}
	// 190 ticks passed, 180 of them idle.
	if !near(rest.Busy, 1-180./190) || rest.Load[0] != 0.52 || rest.Load[2] != 0.71 {
		t.Errorf("%+v", rest)
	}
	if cpu.Total != 9850 || cpu.Idle != 8280 || cpu.Steal != 10 {
		t.Errorf("%+v", cpu)
	}
	later := cpu
	later.Total, later.Steal = later.Total+1000, later.Steal+50
	if s := StealShare(cpu, later); !near(s, 0.05) {
		t.Errorf("steal %v", s)
	}
	if s := StealShare(cpu, cpu); s != 0 {
		t.Errorf("steal of no time: %v", s)
	}
	for _, bad := range []string{"", "0.1 0.2\ncpu\ncpu", strings.Replace(quietRest, "0.52", "x", 1), strings.Replace(quietRest, "1005", "x", 1), strings.Replace(quietRest, "cpu", "intr", 1)} {
		if _, _, err := ParseRest(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestJudgeNode(t *testing.T) {
	quiet := func() Node {
		n := Node{Before: Rest{Busy: 0.1}, After: Rest{Busy: 0.1}, Steal: 0.001}
		n.Loop.Add(3, 3.1)
		n.Loop.Add(3.05, 3.2)
		return n
	}
	for _, c := range []struct {
		name   string
		change func(*Node)
		say    string // "" for a quiet machine
	}{
		{"quiet", func(*Node) {}, ""},
		{"another program before", func(n *Node) { n.Before.Busy = 0.5 }, "50 % of the time before"},
		{"another program after", func(n *Node) { n.After.Busy = 0.5 }, "after"},
		{"an oversold host", func(n *Node) { n.Steal = 0.05 }, "5.0 %"},
		{"a clock that sinks", func(n *Node) { n.Loop.Add(3.8, 3.9) }, "30 % longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := quiet()
			c.change(&n)
			n.Judge()
			if n.Noisy != (c.say != "") || !strings.Contains(strings.Join(n.Noise, "\n"), c.say) {
				t.Errorf("noisy %v: %q, want %q", n.Noisy, n.Noise, c.say)
			}
		})
	}
}
