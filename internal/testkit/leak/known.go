package leak

// everywhere are the goroutines that libraries start once for a process and never end.
var everywhere = []Allow{
	{Goroutine: "k8s.io/klog/v2.(*flushDaemon).run.func1", Why: "klog writes out its buffers until the process ends"},
	{Goroutine: "go.opencensus.io/stats/view.(*worker).start", Why: "opencensus starts its worker in an init function"},
}

// Containerd is what containerd's stores leave behind when they are closed.
func Containerd() []Allow {
	return []Allow{
		{Goroutine: "github.com/containerd/containerd/v2/core/metadata.(*DB).getMarked.func1.1", Why: "a collection that is cut off by the end of its context leaves its reader waiting"},
		{Kind: "file descriptor", Part: "/.fsverity-check-", Why: "asking whether a folder's file system knows fs-verity leaves the file open until it is collected as garbage"},
	}
}

// BuildKit is what a BuildKit controller, on containerd's stores, begins and does not end when it is closed.
func BuildKit() []Allow {
	return append(Containerd(), []Allow{
		{Goroutine: "github.com/moby/buildkit/solver/llbsolver/history.NewQueue.func2", Why: "clears old records out every two minutes, for as long as the process lives"},
		{Goroutine: "github.com/moby/buildkit/solver/llbsolver/history.NewQueue.func3", Why: "waits on a channel that nobody has, when no size for the history is set"},
		{Goroutine: "github.com/moby/buildkit/solver.(*Job).Discard.func1", Why: "forgets a finished job ten seconds after its end"},
		{Goroutine: "github.com/moby/buildkit/control.NewController.After.throttle.func3.1", Why: "collects garbage a minute after a build"},
	}...)
}
