package scheduler

import (
	"iter"
	"slices"
)

// journalLength is how many changes are kept one by one. Who is farther behind compares all nodes instead.
const journalLength = 1024

// journal says which nodes have changed, so that a class looks only at those that changed since it looked last. A change costs
// the same however many classes there are.
type journal struct {
	now    uint64   // changes so far
	last   []uint64 // by node: its last change
	shaped []uint64 // by node: the last change of what it is, not only of what is placed on it
	ring   [journalLength]int32
}

// add notes a change of a node.
func (j *journal) add(node int, shape bool) {
	j.now++
	j.last[node] = j.now
	if shape {
		j.shaped[node] = j.now
	}
	j.ring[j.now%journalLength] = int32(node)
}

// grow makes room for one node more.
func (j *journal) grow() {
	j.last, j.shaped = append(j.last, 0), append(j.shaped, 0)
}

// since goes through the nodes that changed after the change seen, each once.
func (j *journal) since(seen uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		if j.now-seen >= min(journalLength, uint64(len(j.last))) {
			for node, at := range j.last {
				if at > seen && !yield(node) {
					return
				}
			}
			return
		}
		for at := seen + 1; at <= j.now; at++ {
			// An earlier entry of a node that has a later one says nothing more.
			if node := int(j.ring[at%journalLength]); j.last[node] == at && !yield(node) {
				return
			}
		}
	}
}

func (j *journal) clone() journal {
	out := *j
	out.last, out.shaped = slices.Clone(j.last), slices.Clone(j.shaped)
	return out
}
