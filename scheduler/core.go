package scheduler

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// reviewEvery is how often pods that no node takes are looked at again even if nothing happened that could help them.
const reviewEvery = 5 * time.Minute

// core is the scheduler without its surroundings: it is told of changes and of the time, and answers with actions. It starts nothing, waits
// for nothing and writes nothing, so that everything it does can be replayed and printed.
type core struct {
	name  string // of the pods' schedulerName
	state *State
	queue *queue

	// What has happened since the last decision, for those that no node takes.
	happened change
	touched  []int32 // columns

	review   time.Time // when to look at all lines again; zero: nobody stands in one
	reviewed time.Time
	stories  []action // to be told to pods that stay where they are
}

func newCore(name string) *core {
	return &core{name: name, state: NewState(), queue: newQueue()}
}

// action is what to do about one pod: bind it, or say why it waits.
type action struct {
	*item
	Decision
}

// String says it as the transcripts of the tests do.
func (a action) String() string {
	if a.Node != "" {
		return fmt.Sprintf("bind %s to %s", a.pod.Name, a.Node)
	}
	return fmt.Sprintf("%s waits: %s", a.pod.Name, a.Decision)
}

// node takes in a change of a node. Old or new is nil for one that appeared or went.
func (c *core) node(old, new *corev1.Node) {
	if new == nil {
		c.state.RemoveNode(old.Name)
		c.happened |= nodeGone
		return
	}
	if i, changed := c.state.SetNode(new); changed {
		c.touch(i, nodeChanged)
	}
}

// pod takes in a change of a pod.
func (c *core) pod(old, new *corev1.Pod, now time.Time) {
	switch {
	case new == nil || kube.PodFinished(new):
		gone := new
		if gone == nil {
			gone = old
		}
		c.forget(gone, now)
		c.free(gone)
	case new.Spec.NodeName != "":
		if old != nil && old.Spec.NodeName == new.Spec.NodeName && old.Generation == new.Generation && !kube.PodFinished(old) {
			return // the rules see nothing else of it
		}
		c.forget(new, now)
		c.state.Place(new, new.Spec.NodeName)
	case new.DeletionTimestamp != nil:
		c.forget(new, now)
	case c.mine(new) && !c.state.Placed(new.UID):
		c.want(new, now)
	}
}

// mine says whether the pod is for this scheduler, and may be scheduled yet.
func (c *core) mine(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == c.name && len(pod.Spec.SchedulingGates) == 0
}

// want puts a pod into the queue, or replaces the one of the same UID there. One that was changed is tried anew.
func (c *core) want(pod *corev1.Pod, now time.Time) {
	it, ok := c.queue.items[pod.UID]
	if ok && it.pod.Generation == pod.Generation {
		it.pod = pod
		return
	}
	if !ok {
		it = &item{at: now}
	} else {
		c.forget(pod, now)
	}
	it.pod, it.class = pod, c.state.Class(pod)
	it.class.users++
	c.queue.put(it, &c.queue.ready)
}

// forget takes a pod out of the queue, if it is there. If it was the one of its line to be tried, the next one is.
func (c *core) forget(pod *corev1.Pod, now time.Time) {
	it, ok := c.queue.items[pod.UID]
	if !ok {
		return
	}
	out := it.letOut
	c.queue.take(it)
	if out {
		c.letNext(it.class, now)
	}
	c.queue.tidy(it.class)
	c.state.leave(it.class)
}

// free takes a pod off its node.
func (c *core) free(pod *corev1.Pod) {
	if i := c.state.Remove(pod.UID); i >= 0 {
		c.touch(i, podLeft)
	}
}

func (c *core) touch(column int, what change) {
	c.happened |= what
	c.touched = append(c.touched, int32(column))
}

// failed takes back a placement that the API refused. Pod is what is known of the pod now, nil if it is gone; one that waits as before is
// tried again after its back-off.
func (c *core) failed(it *item, pod *corev1.Pod, now time.Time) {
	if !c.state.Placed(it.pod.UID) {
		return // it has ended, and its story has been told
	}
	c.free(it.pod)
	if pod == nil {
		return
	}
	if pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || kube.PodFinished(pod) || !c.mine(pod) {
		c.pod(nil, pod, now)
		return
	}
	it.pod, it.class = pod, c.state.Class(pod)
	it.class.users++
	c.queue.retry(it, now)
}

// next returns the next thing to do, or when to ask again (zero: when something has happened).
func (c *core) next(now time.Time) (do action, ok bool, wait time.Time) {
	c.help(now)
	wait = c.queue.due(now)
	if len(c.queue.lines) == 0 {
		c.review = time.Time{}
	}
	if !c.review.IsZero() && !c.review.After(now) {
		c.lookAgain(now)
	}
	if !c.review.IsZero() && (wait.IsZero() || c.review.Before(wait)) {
		wait = c.review
	}
	if it := c.queue.pop(); it != nil {
		return c.decide(it, now), true, wait
	}
	for len(c.stories) > 0 {
		do, c.stories = c.stories[0], c.stories[1:]
		if c.queue.items[do.pod.UID] == do.item {
			return do, true, wait
		}
	}
	return action{}, false, wait
}

// decide places one pod, or puts it in line.
func (c *core) decide(it *item, now time.Time) action {
	d := c.state.Decide(it.class)
	if d.Node == "" {
		c.queue.park(it, d, now)
		if c.review.IsZero() {
			c.review = now.Add(reviewEvery)
		}
		return action{it, d}
	}
	c.state.place(it.pod.UID, it.class, d.Node)
	c.letNext(it.class, now)
	c.queue.tidy(it.class)
	c.state.leave(it.class)
	return action{it, d}
}

// letNext lets the next of a line out if there is room for it.
func (c *core) letNext(class *Class, now time.Time) {
	l := c.queue.lines[class]
	switch {
	case l == nil || l.pods.Len() == 0 || l.trying:
	case c.state.Fits(class):
		c.queue.release(class, now)
	default:
		l.by = allRules // what has happened meanwhile was not looked at, so anything may help
		c.reviewSoon()
	}
}

// help lets out of each line whose class now fits somewhere the first pod. When that one has a node, the next follows (letNext), so that
// nobody is tried in vain, however many wait and however much happens.
func (c *core) help(now time.Time) {
	if c.happened == 0 {
		return
	}
	if c.happened&(nodeChanged|nodeGone) != 0 {
		c.reviewSoon()
	}
	slices.Sort(c.touched)
	c.touched = slices.Compact(c.touched)
	for class, l := range c.queue.lines {
		if !l.trying && l.by.helped()&c.happened != 0 && c.helps(class, l) {
			c.queue.release(class, now)
		}
	}
	c.happened, c.touched = 0, c.touched[:0]
}

// helps says whether one of the nodes that something happened to takes the class; no other did, so no other has to be asked.
func (c *core) helps(class *Class, l *line) bool {
	for _, i := range c.touched {
		k := c.state.refusing(class, int(i))
		if k < 0 {
			return true
		}
		if k < ruleCount {
			l.by = l.by.with(k)
		}
	}
	return false
}

// reviewSoon has all lines looked at again, as there may be something else to say. But a cluster that changes all the time is not
// retold all the time.
func (c *core) reviewSoon() {
	if at := c.reviewed.Add(maxBackoff); at.Before(c.review) {
		c.review = at
	}
}

// lookAgain decides anew for every line: nodes have come, changed or gone, or it was long ago. What there is to say now is told to all
// that stand there.
func (c *core) lookAgain(now time.Time) {
	c.reviewed, c.review = now, time.Time{}
	for class, l := range c.queue.lines {
		if l.pods.Len() == 0 {
			continue
		}
		c.review = now.Add(reviewEvery)
		d := c.state.Decide(class)
		if d.Node != "" {
			c.queue.release(class, now)
			continue
		}
		if told := d.outline(); told != l.told {
			l.told = told
			for _, it := range l.pods.items {
				c.stories = append(c.stories, action{it, d})
			}
		}
		l.by = d.by
	}
	slices.SortFunc(c.stories, func(a, b action) int {
		if urgent(a.item, b.item) {
			return -1
		}
		return 1
	})
}
