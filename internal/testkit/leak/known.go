package leak

// everywhere are the goroutines that libraries start once for a process and never end.
var everywhere = []Allow{
	{Goroutine: "k8s.io/klog/v2.(*flushDaemon).run.func1", Why: "klog writes out its buffers until the process ends"},
	{Goroutine: "go.opencensus.io/stats/view.(*worker).start", Why: "opencensus starts its worker in an init function"},
}

// BuildKit are the goroutines that a BuildKit controller begins and does not end when it is closed.
func BuildKit() []Allow {
	return []Allow{
		{Goroutine: "github.com/moby/buildkit/solver/llbsolver/history.NewQueue.func2", Why: "clears old records out every two minutes, for as long as the process lives"},
		{Goroutine: "github.com/moby/buildkit/solver/llbsolver/history.NewQueue.func3", Why: "waits on a channel that nobody has, when no size for the history is set"},
		{Goroutine: "github.com/moby/buildkit/solver.(*Job).Discard.func1", Why: "forgets a finished job ten seconds after its end"},
		{Goroutine: "github.com/moby/buildkit/control.NewController.After.throttle.func3.1", Why: "collects garbage a minute after a build"},
	}
}
