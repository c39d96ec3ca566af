package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// countTaints counts the PreferNoSchedule taints that the class does not tolerate.
func countTaints(c *Class, node *corev1.Node) (n int64) {
	for i := range node.Spec.Taints {
		if t := &node.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.spec.tolerations, t) {
			n++
		}
	}
	return n
}

// fewer gives the most to nodes with the lowest raw score.
func fewer(raw, highest int64) int64 {
	if highest == 0 {
		return maxScore
	}
	return maxScore - maxScore*raw/highest
}

// preferLabels sums the weights of the preferred terms that match.
func preferLabels(c *Class, node *corev1.Node) int64 {
	if c.prefer == nil {
		return 0
	}
	return c.prefer.Score(node)
}

// more gives the most to nodes with the highest raw score.
func more(raw, highest int64) int64 {
	if highest == 0 {
		return 0
	}
	return maxScore * raw / highest
}

// leastAllocated prefers nodes with much left, by the mean over CPU and memory.
func leastAllocated(s *State, c *Class, node int) int64 {
	sum, weights := int64(0), int64(0)
	for dim := range s.guessed {
		alloc := s.allocatable[dim][node]
		if alloc == 0 {
			continue
		}
		if req := s.guessed[dim][node] + c.guess[dim]; req <= alloc {
			sum += (alloc - req) * maxScore / alloc
		}
		weights++
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// balanced prefers nodes whose CPU and memory fill evenly: the change of that balance by this pod, around 50 (75 at the best).
func balanced(s *State, c *Class, node int) int64 {
	if len(c.requests) == 0 {
		return 0
	}
	with, without := s.evenness(node, c.amount(dimCPU), c.amount(dimMemory)), s.evenness(node, 0, 0)
	return maxScore/2 + (maxScore/2+with-without)/2
}

func (c *Class) amount(dim int) int64 {
	for _, r := range c.requests {
		if r.dim == dim {
			return r.amount
		}
	}
	return 0
}

// evenness says how alike the parts of CPU and memory are that would be used: 100 if they are the same, or only one is known.
func (s *State) evenness(node int, cpu, memory int64) int64 {
	cores, bytes := s.allocatable[dimCPU][node], s.allocatable[dimMemory][node]
	if cores == 0 || bytes == 0 {
		return maxScore
	}
	a := math.Min(1, float64(s.used[dimCPU][node]+cpu)/float64(cores))
	b := math.Min(1, float64(s.used[dimMemory][node]+memory)/float64(bytes))
	return int64((1 - math.Abs(a-b)/2) * maxScore)
}
