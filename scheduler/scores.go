package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

const maxScore = 100

// staticCount is the number of static scores; classes keep a column for each.
const staticCount = 2

// staticScore depends on the pod's class and the node's own properties only. Raw scores are kept per class and node, and spread over
// 0..100 given their maximum among the nodes that fit.
type staticScore struct {
	name      string
	weight    int64
	raw       func(c *Class, node *corev1.Node) int64
	normalise func(raw, max int64) int64
}

// The static scores of upstream's default profile that this scheduler has, with upstream's weights. All divisions truncate, as upstream's do.
var staticScores = [staticCount]staticScore{
	{"TaintToleration", 3, rawTaints, func(raw, max int64) int64 {
		if max == 0 {
			return maxScore
		}
		return maxScore - maxScore*raw/max
	}},
	{"NodeAffinity", 2, rawAffinity, func(raw, max int64) int64 {
		if max == 0 {
			return 0
		}
		return maxScore * raw / max
	}},
}

// dynamicScore looks at what is placed on a node now. It is in 0..100 already.
type dynamicScore struct {
	name   string
	weight int64
	score  func(s *State, c *Class, node int) int64
}

// The dynamic scores, with upstream's weights.
var dynamicScores = [...]dynamicScore{
	{"NodeResourcesFit", 1, leastAllocated},
	{"NodeResourcesBalancedAllocation", 1, balanced},
}

// rawTaints counts the PreferNoSchedule taints that the class does not tolerate.
func rawTaints(c *Class, node *corev1.Node) (n int64) {
	for i := range node.Spec.Taints {
		if t := &node.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.spec.Tolerations, t) {
			n++
		}
	}
	return n
}

// rawAffinity sums the weights of the preferred terms that match.
func rawAffinity(c *Class, node *corev1.Node) int64 {
	if c.prefer == nil {
		return 0
	}
	return c.prefer.Score(node)
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

func (s *State) evenness(node int, cpu, memory int64) int64 {
	var fractions []float64
	for dim, add := range [...]int64{cpu, memory} {
		if alloc := s.allocatable[dim][node]; alloc > 0 {
			fractions = append(fractions, math.Min(1, float64(s.used[dim][node]+add)/float64(alloc)))
		}
	}
	std := 0.0
	if len(fractions) == 2 {
		std = math.Abs(fractions[0]-fractions[1]) / 2
	}
	return int64((1 - std) * maxScore)
}
