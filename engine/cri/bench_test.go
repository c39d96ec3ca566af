package cri

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPod takes a pod of one container from nothing to running and away again, as a kubelet does, and reports the phases. The
// image is there, and the network is a loopback interface.
func BenchmarkPod(b *testing.B) {
	r := newReal(b)
	var sandbox, create, start, remove time.Duration
	i := 0
	for b.Loop() {
		name := fmt.Sprintf("p%d", i)
		i++
		phase := time.Now()
		next := func(d *time.Duration) {
			*d += time.Since(phase)
			phase = time.Now()
		}
		pod, err := r.RunPodSandbox(b.Context(), r.podConfig(name), "")
		next(&sandbox)
		if err != nil {
			b.Fatal(err)
		}
		id, err := r.CreateContainer(b.Context(), pod, containerConfig("main", "sleep", "1000"), nil)
		next(&create)
		if err == nil {
			err = r.StartContainer(b.Context(), id)
		}
		next(&start)
		if err == nil {
			err = r.RemovePodSandbox(b.Context(), pod)
		}
		next(&remove)
		if err != nil {
			b.Fatal(err)
		}
	}
	for name, d := range map[string]time.Duration{"sandbox": sandbox, "create": create, "start": start, "remove": remove} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), name+"-ms")
	}
}
