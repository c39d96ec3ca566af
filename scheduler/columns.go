package scheduler

import (
	"maps"
	"math/bits"
	"slices"
)

// maxCells bounds what all classes together keep of nodes, and maxColumns how many classes keep anything. Beyond that, the class goes
// without that has been idle for longest; it is asked anew when it is next needed.
const (
	maxCells   = 4 << 20
	maxColumns = 256
)

// columns is what one class knows of every node, as of its last look. Nodes that are alike in their raw scores form a group, and within a
// group they stand in line by the score that changes with every placement: the best node is found without looking at the others.
type columns struct {
	seen   uint64 // the journal's change up to which this is right
	used   uint64 // the decision that last needed it
	cells  []cell
	groups []*group
	byRaw  map[[ruleCount]int64]int32 // the groups' places
}

// cell is what a class knows of one node.
type cell struct {
	group      int32 // of nodes with the same raw scores; refusedGroup: refused for what it is
	level      int16 // place in the group's lines; unlisted: nothing more fits on it
	prev, next int32 // in its line; -1: none
}

const (
	refusedGroup = -1
	unlisted     = -1
)

// group holds the nodes with the same raw scores that fit, in a line for each level.
type group struct {
	raw        [ruleCount]int64
	size       int
	head, tail []int32  // by level; -1: nobody
	filled     []uint64 // bits of the levels that have somebody
}

// look returns the class's columns, brought up to date: only nodes that changed since the last look are asked.
func (c *Class) look(s *State) *columns {
	if c.columns == nil {
		s.makeRoom()
		c.columns = &columns{byRaw: map[[ruleCount]int64]int32{}}
		s.warm = append(s.warm, c)
	}
	cols := c.columns
	s.ticks++
	cols.used = s.ticks
	for i := len(cols.cells); i < len(s.names); i++ {
		cols.cells = append(cols.cells, cell{group: refusedGroup, level: unlisted, prev: -1, next: -1})
		cols.refresh(s, c, i, true)
	}
	for i := range s.journal.since(cols.seen) {
		cols.refresh(s, c, i, s.journal.shaped[i] > cols.seen)
	}
	cols.seen = s.journal.now
	return cols
}

// makeRoom takes the columns from idle classes until one more may have some.
func (s *State) makeRoom() {
	most := max(16, min(maxColumns, maxCells/max(1, len(s.names))))
	for len(s.warm) >= most {
		oldest := 0
		for i, class := range s.warm {
			if class.columns.used < s.warm[oldest].columns.used {
				oldest = i
			}
		}
		class := s.warm[oldest]
		s.warm = slices.Delete(s.warm, oldest, oldest+1)
		if class.columns = nil; class.users == 0 {
			delete(s.classes, class.key)
		}
	}
}

// refresh asks the rules about one node. What depends on the node alone is asked only if that has changed.
func (cols *columns) refresh(s *State, c *Class, i int, shape bool) {
	at := &cols.cells[i]
	cols.unlist(i)
	if shape {
		at.group = refusedGroup
		if node := s.nodes[i]; node != nil {
			if k, _ := c.refusal(node); k < 0 {
				at.group = cols.groupOf(c.raw(node))
			}
		}
	}
	if at.group != refusedGroup && s.passes(c, i) {
		cols.list(i, int16(s.score(c, i)), s.levels)
	}
}

func (cols *columns) groupOf(raw [ruleCount]int64) int32 {
	k, ok := cols.byRaw[raw]
	if !ok {
		k = int32(len(cols.groups))
		cols.groups = append(cols.groups, &group{raw: raw})
		cols.byRaw[raw] = k
	}
	return k
}

// list puts a node at the end of a line.
func (cols *columns) list(i int, level int16, levels int) {
	at := &cols.cells[i]
	g := cols.groups[at.group]
	if g.head == nil {
		g.head, g.tail = make([]int32, levels), make([]int32, levels)
		for k := range g.head {
			g.head[k], g.tail[k] = -1, -1
		}
		g.filled = make([]uint64, (levels+63)/64)
	}
	at.level, at.prev, at.next = level, g.tail[level], -1
	if at.prev >= 0 {
		cols.cells[at.prev].next = int32(i)
	} else {
		g.head[level] = int32(i)
		g.filled[level/64] |= 1 << (level % 64)
	}
	g.tail[level] = int32(i)
	g.size++
}

// unlist takes a node out of its line, if it is in one.
func (cols *columns) unlist(i int) {
	at := &cols.cells[i]
	if at.level == unlisted {
		return
	}
	g := cols.groups[at.group]
	if at.prev >= 0 {
		cols.cells[at.prev].next = at.next
	} else {
		g.head[at.level] = at.next
	}
	if at.next >= 0 {
		cols.cells[at.next].prev = at.prev
	} else {
		g.tail[at.level] = at.prev
	}
	if g.head[at.level] < 0 {
		g.filled[at.level/64] &^= 1 << (at.level % 64)
	}
	g.size--
	at.level = unlisted
}

// best returns the node with the highest total, of equal ones the one that has waited longest; -1 if none fits.
func (cols *columns) best() int {
	var highest [ruleCount]int64
	for _, g := range cols.groups {
		if g.size > 0 {
			for k := range highest {
				highest[k] = max(highest[k], g.raw[k])
			}
		}
	}
	best, most := -1, int64(-1)
	for _, g := range cols.groups {
		if g.size == 0 {
			continue
		}
		level := g.top()
		if sum := total(&g.raw, &highest) + int64(level); sum > most {
			best, most = int(g.head[level]), sum
		}
	}
	return best
}

// top is the highest level of a group that has somebody.
func (g *group) top() int {
	for w := len(g.filled) - 1; w >= 0; w-- {
		if g.filled[w] != 0 {
			return w*64 + bits.Len64(g.filled[w]) - 1
		}
	}
	return -1
}

func (cols *columns) clone() *columns {
	if cols == nil {
		return nil
	}
	out := *cols
	out.cells, out.byRaw = slices.Clone(cols.cells), maps.Clone(cols.byRaw)
	out.groups = make([]*group, len(cols.groups))
	for k, g := range cols.groups {
		twin := *g
		twin.head, twin.tail, twin.filled = slices.Clone(g.head), slices.Clone(g.tail), slices.Clone(g.filled)
		out.groups[k] = &twin
	}
	return &out
}
