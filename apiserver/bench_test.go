package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
)

// benchPod is about the size of a pod that a Deployment makes.
func benchPod(name string) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default",
			Labels:      map[string]string{"app": "web", "pod-template-hash": "7d4b9c6f5d"},
			Annotations: map[string]string{"example.com/revision": "12"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7d4b9c6f5d",
				UID: "5b7bbdeb-acb3-4dff-8f09-d44742a014e0", Controller: &yes, BlockOwnerDeletion: &yes}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "registry.example.com/team/web:1.2.3",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env:   []corev1.EnvVar{{Name: "MODE", Value: "production"}, {Name: "LEVEL", Value: "info"}},
		}}},
	}
}

// connections returns clients that do not share one connection, as programs of their own would not.
func connections(b *testing.B, config *rest.Config, n int) []*kubernetes.Clientset {
	b.Helper()
	var out []*kubernetes.Clientset
	for range n {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(config.CAData)
		pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
		if err != nil {
			b.Fatal(err)
		}
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
		c, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: config.Host, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}}, &http.Client{Transport: transport})
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

const benchConnections, benchWriters = 8, 64

// parallel runs do from 64 goroutines on 8 connections.
func parallel(b *testing.B, s *apiservertest.Server, do func(c *kubernetes.Clientset, n int64) error) {
	clients := connections(b, s.Config, benchConnections)
	var n, failed atomic.Int64
	b.SetParallelism(benchWriters / 2)
	before := processorTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			if err := do(clients[i%benchConnections], i); err != nil {
				failed.Add(1)
				b.Log(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	// On a shared machine this says more than the time that passed. Client and server are one process here.
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
	if failed.Load() > 0 {
		b.Fatalf("%d requests failed", failed.Load())
	}
}

// processorTime is how long this process has computed.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkCreatePod measures server and client together: they share the machine.
func BenchmarkCreatePod(b *testing.B) {
	s := apiservertest.New(b)
	parallel(b, s, func(c *kubernetes.Clientset, n int64) error {
		_, err := c.CoreV1().Pods("default").Create(context.Background(), benchPod(fmt.Sprintf("web-%d", n)), metav1.CreateOptions{})
		return err
	})
}

// BenchmarkCreatePodEtcd is the same with the store that serves: what is acknowledged is on the disk.
func BenchmarkCreatePodEtcd(b *testing.B) {
	backend, err := etcd.NewEmbedded(etcd.EmbeddedConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- backend.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	<-backend.Ready()
	s := apiservertest.New(b, apiservertest.Options{Store: backend.Store()})
	parallel(b, s, func(c *kubernetes.Clientset, n int64) error {
		_, err := c.CoreV1().Pods("default").Create(context.Background(), benchPod(fmt.Sprintf("web-%d", n)), metav1.CreateOptions{})
		return err
	})
}

// BenchmarkCreatePodLocal is the same write without HTTP and without a client.
func BenchmarkCreatePodLocal(b *testing.B) {
	s := apiservertest.New(b)
	door := s.Local()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := door.Create(context.Background(), benchPod(fmt.Sprintf("web-%d", i))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetPod(b *testing.B) {
	s := apiservertest.New(b)
	if _, err := s.Local().Create(context.Background(), benchPod("web")); err != nil {
		b.Fatal(err)
	}
	parallel(b, s, func(c *kubernetes.Clientset, _ int64) error {
		_, err := c.CoreV1().Pods("default").Get(context.Background(), "web", metav1.GetOptions{})
		return err
	})
}

// discard takes an answer and throws it away.
type discard struct {
	header http.Header
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	return len(p), nil
}

// BenchmarkList10k is the server's share of a list of 10,000 pods, without the network.
func BenchmarkList10k(b *testing.B) {
	s := apiservertest.New(b)
	door := s.Local()
	for i := range 10000 {
		if _, err := door.Create(context.Background(), benchPod(fmt.Sprintf("web-%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	leaf := certificate(b, s.Config)
	for _, accept := range []string{"application/vnd.kubernetes.protobuf", "application/json"} {
		b.Run(accept, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				req, _ := http.NewRequest(http.MethodGet, "/api/v1/pods", nil)
				req.Header.Set("Accept", accept)
				req.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
				d := &discard{header: http.Header{}}
				s.Handler().ServeHTTP(d, req)
				b.SetBytes(d.bytes)
			}
		})
	}
}

// watcher counts the bytes that a watch sends.
type watcher struct {
	discard
	sent *atomic.Int64
}

func (w *watcher) Write(p []byte) (int, error) {
	w.sent.Add(int64(len(p)))
	return len(p), nil
}

func (w *watcher) Flush() {}

// BenchmarkFanOut is the server's share of telling 1,000 watchers of a change, without the network.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 1000
	s := apiservertest.New(b)
	door := s.Local()
	made, err := door.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Data: map[string]string{"n": "0"}})
	if err != nil {
		b.Fatal(err)
	}
	leaf := certificate(b, s.Config)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var sent atomic.Int64
	for range watchers {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/configmaps?watch=true&resourceVersion="+made.GetResourceVersion(), nil)
		req.Header.Set("Accept", "application/json")
		req.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
		go s.Handler().ServeHTTP(&watcher{discard: discard{header: http.Header{}}, sent: &sent}, req)
	}
	for s.Cache().Stats().Tables["configmaps"].Watchers < watchers {
		time.Sleep(time.Millisecond)
	}
	cm := made.(*corev1.ConfigMap)
	frame := int64(0)
	b.ResetTimer()
	before := processorTime(b)
	for i := range b.N {
		cm.Data["n"] = fmt.Sprintf("%08d", i)
		out, err := door.Update(context.Background(), cm)
		if err != nil {
			b.Fatal(err)
		}
		cm = out.(*corev1.ConfigMap)
		if i == 0 {
			for sent.Load() == 0 || sent.Load()%watchers != 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
			frame = sent.Load() / watchers
		}
	}
	for sent.Load() < frame*watchers*int64(b.N)-watchers {
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	events := float64(b.N) * watchers
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/events, "cpu-ns/event")
}

func certificate(b *testing.B, config *rest.Config) *x509.Certificate {
	b.Helper()
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	return leaf
}
