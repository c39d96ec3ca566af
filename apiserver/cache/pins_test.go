package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPinsEnd: a list whose pages are asked for again and again is not kept for ever.
func TestPinsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &Table{}
		page := &view{tree: newTree(), revision: 7}
		table.Pin(page)
		for range int(pinAge/(20*time.Second)) - 1 {
			time.Sleep(20 * time.Second) // virtual
			table.Pin(page)
			table.unpin(time.Now())
			if len(table.pins) != 1 {
				t.Fatal("a list is forgotten between its pages")
			}
		}
		time.Sleep(20 * time.Second)
		if table.unpin(time.Now()); len(table.pins) != 0 {
			t.Errorf("a list is kept for longer than %s", pinAge)
		}
		table.pin(page, againAge)
		time.Sleep(againAge)
		if table.unpin(time.Now()); len(table.pins) != 0 {
			t.Errorf("a list of the past is kept for longer than %s", againAge)
		}
	})
}
