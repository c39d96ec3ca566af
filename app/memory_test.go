package app

import "testing"

func TestMemoryIsGivenBackWhenItIsWorthIt(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name        string
		before, now usage
		want        bool
	}{
		{"a small server at rest", usage{}, usage{allocated: 1 * mb, objects: 12 * mb, live: 10 * mb, spare: 3 * mb}, false},
		{"a burst", usage{allocated: 100 * mb}, usage{allocated: 300 * mb, objects: 90 * mb, live: 30 * mb, spare: 60 * mb}, false},
		{"after it", usage{allocated: 300*mb + mb/2}, usage{allocated: 301 * mb, objects: 90 * mb, live: 30 * mb, spare: 60 * mb}, true},
		{"given back", usage{allocated: 301 * mb}, usage{allocated: 301 * mb, objects: 30 * mb, live: 30 * mb, spare: 4 * mb}, false},
		{"a large server, with little to be had", usage{}, usage{objects: 1000 * mb, live: 900 * mb, spare: 100 * mb}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shouldGive(c.before, c.now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestUsageIsRead(t *testing.T) {
	if u := readUsage(); u.allocated == 0 || u.objects == 0 {
		t.Errorf("got %+v, want figures", u)
	}
}
