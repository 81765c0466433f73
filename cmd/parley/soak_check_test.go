package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// settle waits until all devices show everything that was sent, numbered, in one order, and returns their lists. Whatever has
// not come within a minute and a half counts as lost.
func (s *soak) settle(t *testing.T) [][]listed {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(90 * time.Second)
	for {
		lists, settled := s.lists(t)
		if settled || t.Failed() {
			return lists
		}
		if time.Now().After(deadline) {
			for i, list := range lists {
				t.Errorf("%s has %d of %d messages, %s", s.devices[i].name, len(list), len(s.texts), states(list))
			}
			return lists
		}
		<-tick.C
	}
}

// lists asks every device for what it shows.
func (s *soak) lists(t *testing.T) (lists [][]listed, settled bool) {
	t.Helper()
	settled = true
	for _, d := range s.devices {
		r, alive, _ := d.ask(order{List: &s.conversation})
		if !alive || r.Failed != "" {
			t.Errorf("%s: list: %+v", d.name, r)
		}
		lists = append(lists, r.List)
		settled = settled && len(r.List) == len(s.texts) && !slices.ContainsFunc(r.List, func(m listed) bool { return m.Seq == 0 })
	}
	return lists, settled
}

// compare checks that the devices have the same list, and that it is what was accepted.
func (s *soak) compare(t *testing.T, lists [][]listed) {
	t.Helper()
	for i, list := range lists {
		d := s.devices[i]
		seen := make(map[string]bool)
		for n, m := range list {
			switch {
			case seen[m.ID]:
				t.Errorf("%s has %s twice", d.name, m.ID)
			case s.texts[m.ID] == "":
				t.Errorf("%s has %s, which nobody sent", d.name, m.ID)
			case s.texts[m.ID] != m.Sum:
				t.Errorf("%s has another text in %s", d.name, m.ID)
			case m.Odd:
				t.Errorf("%s has %s altered or failed", d.name, m.ID)
			case n > 0 && m.Seq <= list[n-1].Seq:
				t.Errorf("%s has %s behind a higher number", d.name, m.ID)
			}
			seen[m.ID] = true
			if n < len(lists[0]) && (m.ID != lists[0][n].ID || m.Seq != lists[0][n].Seq) {
				t.Fatalf("%s has %s at %d, %s has %s", d.name, m.ID, n, s.devices[0].name, lists[0][n].ID)
			}
		}
		for id := range s.texts {
			if !seen[id] {
				t.Errorf("%s lost %s", d.name, id)
			}
		}
		for id, times := range d.shown {
			if times > 1 {
				t.Errorf("%s showed %s %d times", d.name, id, times)
			}
		}
		for _, what := range d.trouble {
			t.Errorf("%s reported: %s", d.name, what)
		}
	}
}

// summary says what was done.
func (s *soak) summary(t *testing.T) {
	t.Helper()
	lists, _ := s.lists(t)
	t.Logf("%d messages in %v, seed %d", len(s.texts), time.Since(s.began).Round(time.Second), s.seed)
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		t.Logf("%d × %s", s.counts[what], what)
	}
	for i, list := range lists {
		t.Logf("%s: %s; %d links opened", s.devices[i].name, states(list), s.devices[i].linked())
	}
}

// states counts messages by path and state.
func states(list []listed) string {
	paths, states := make(map[string]int), make(map[string]int)
	unnumbered := 0
	for _, m := range list {
		paths[m.Path]++
		states[m.State]++
		if m.Seq == 0 {
			unnumbered++
		}
	}
	return fmt.Sprintf("by path %v, by state %v, %d without a number", paths, states, unnumbered)
}
