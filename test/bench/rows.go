package main

// unit is how a figure is written, and which way is better.
type unit int

const (
	milliseconds unit = iota
	microseconds
	seconds
	megabytes
	percent
	perSecond // more is better; of all others, less
)

// figure is one number of a row: its name beside the others, its unit, and its budget (0: none).
type figure struct {
	name   string
	unit   unit
	budget float64
}

// row is one budget: what it is about, how it is measured, and its figures.
type row struct {
	group, id, what, how string
	figures              []figure
}

// rows is the table of everything that is measured, in the order in which it is printed.
var rows = []row{
	{"api", "start", "control plane, start to ready", "cuppa server --no-node, new data dir, exec to /readyz 200, median of 5",
		[]figure{{"", milliseconds, 60}, {"max", milliseconds, 0}}},
	{"api", "create", "create pod, 64 writers", "10,000 pods that no scheduler takes, protobuf, 8 HTTP/2 connections",
		[]figure{{"", perSecond, 5000}, {"p50", milliseconds, 0}, {"p99", milliseconds, 0}, {"server CPU each", microseconds, 0}}},
	{"api", "get", "get, quorum-fresh, 64 readers", "40,000 gets of random pods without a resourceVersion, protobuf",
		[]figure{{"", perSecond, 20000}, {"p50", milliseconds, 0}, {"p99", milliseconds, 0}, {"server CPU each", microseconds, 0}}},
	{"api", "memory", "memory with 10,000 pods", "after the creates, 3 s of rest (--no-node: etcd, API server, controllers, scheduler)",
		[]figure{{"RSS", megabytes, 135}, {"anonymous", megabytes, 0}}},
	{"api", "list-protobuf", "list 10,000 pods, protobuf", "10 lists of the whole namespace, one by one; server CPU from /proc",
		[]figure{{"server CPU", milliseconds, 40}, {"wall p50", milliseconds, 0}}},
	{"api", "list-json", "list 10,000 pods, JSON", "the same (one list before, that is not counted)",
		[]figure{{"server CPU", milliseconds, 52}, {"wall p50", milliseconds, 0}}},
	{"api", "fanout", "fan-out to 1,000 watchers", "protobuf, 20 connections, 400 updates of 0.7 KB by 16 writers, all events counted",
		[]figure{{"", perSecond, 300000}, {"one write to all, p50", milliseconds, 0}}},
	{"api", "fanout-json", "fan-out to 1,000 watchers, JSON", "the same",
		[]figure{{"", perSecond, 0}, {"one write to all, p50", milliseconds, 0}}},
	{"api", "deployment", "Deployment of 100 replicas: all pods created", "create request to the 100th pod seen by a watcher, median of 5",
		[]figure{{"", milliseconds, 25}, {"max", milliseconds, 0}}},
	{"api", "schedule", "schedule 10,000 pods on 5,000 nodes", "first create request (64 writers) to the last binding seen by a watcher",
		[]figure{{"", perSecond, 4000}}},

	{"node", "ready", "empty machine to first pod Running", "server start (new data dir) until Ready, first DNS answer, first pod; loading the image not counted; median of 3",
		[]figure{{"", seconds, 0.2}, {"node Ready", seconds, 0}, {"DNS", seconds, 0}, {"pod", seconds, 0}}},
	{"node", "idle-memory", "idle memory, whole node", "all processes (server, supervisor, DNS) 5 s after the start, no pods",
		[]figure{{"RSS", megabytes, 90}, {"anonymous", megabytes, 25}}},
	{"node", "idle-cpu", "idle CPU, whole node", "the same processes over 10 s, of one core",
		[]figure{{"", percent, 0.2}}},
	{"node", "pod", "pod created to Running seen by a watcher", "20 busybox pods one by one, image present",
		[]figure{{"p50", milliseconds, 20}, {"max", milliseconds, 40}}},
	{"node", "pods", "50 pods at once: all Running", "created by 50 writers, median of 3",
		[]figure{{"", milliseconds, 600}, {"max", milliseconds, 0}}},
	{"node", "rollout", "Deployment of 10, created to rolled out", "create request to availableReplicas 10 seen by a watcher, median of 5",
		[]figure{{"", milliseconds, 150}, {"max", milliseconds, 0}}},
	{"node", "refused", "refused connection to an unheld address", "100 connects from the node to free pod and Service addresses (refused, or no route)",
		[]figure{{"median", milliseconds, 0.03}, {"max", milliseconds, 0}}},
	{"node", "service", "Service change at 10,000 Services", "create request (with selector) to the first connection through its cluster IP, median of 20; 10,000 others with one endpoint each",
		[]figure{{"", milliseconds, 5}, {"max", milliseconds, 0}}},
	{"node", "dns", "DNS at 10,000 Services", "4 s of A queries, 4 UDP sockets with 32 in flight each, client on the same cores",
		[]figure{{"", perSecond, 200000}, {"server CPU each", microseconds, 0}}},

	{"compose", "version", "cuppa version (start of the program)", "whole command, median of 20, in turn with `docker --version` if there is one",
		[]figure{{"", milliseconds, 10}, {"peak RSS", megabytes, 20}, {"docker", milliseconds, 0}, {"docker's peak RSS", megabytes, 0}}},
	{"compose", "size", "the file to install", "bin/cuppa",
		[]figure{{"", megabytes, 70}}},
	{"compose", "build-cold", "three-step image build, cold", "cuppa image build, whole command (FROM, COPY, RUN; changed each time), median of 5",
		[]figure{{"", milliseconds, 120}, {"max", milliseconds, 0}}},
	{"compose", "build-cached", "three-step image build, cached", "the same again, nothing changed",
		[]figure{{"", milliseconds, 25}, {"max", milliseconds, 0}}},
	{"compose", "up", "DockerCoins, up -d", "5 services, images present, whole command, median of 5",
		[]figure{{"", milliseconds, 200}, {"max", milliseconds, 0}}},
	{"compose", "answer", "DockerCoins, up -d to the first answer", "start of the command to a 200 of :8000/json, same runs",
		[]figure{{"", milliseconds, 0}, {"max", milliseconds, 0}}},
	{"compose", "up-again", "DockerCoins, up -d, no change", "whole command, same runs",
		[]figure{{"", milliseconds, 30}, {"max", milliseconds, 0}}},
	{"compose", "ps", "DockerCoins, ps", "whole command, same runs",
		[]figure{{"", milliseconds, 20}, {"max", milliseconds, 0}}},
	{"compose", "logs", "DockerCoins, logs --tail 10", "whole command, same runs",
		[]figure{{"", milliseconds, 20}, {"max", milliseconds, 0}}},
	{"compose", "scale", "DockerCoins, scale to 10 workers", "up -d --scale worker=10, whole command, same runs",
		[]figure{{"", milliseconds, 200}, {"max", milliseconds, 0}}},
	{"compose", "down", "DockerCoins, down -t 0", "14 containers, whole command, same runs",
		[]figure{{"", milliseconds, 120}, {"max", milliseconds, 0}}},
}
