package dns

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestProcess is not a test: it is the server's process of TestStandalone.
func TestProcess(t *testing.T) {
	arg := os.Getenv("CUPPA_TEST_DNS")
	if arg == "" {
		t.Skip("runs only as the process of another test")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := Main(ctx, arg); err != nil {
		t.Fatal(err)
	}
}

func launch(ctx context.Context, arg string, output *os.File) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", `setsid "$0" -test.run '^TestProcess$' &`, os.Args[0])
	cmd.Env = append(os.Environ(), "CUPPA_TEST_DNS="+arg)
	cmd.Stdout, cmd.Stderr = output, output
	return cmd.Run()
}

func TestStandalone(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	s := Standalone{
		Build: "1", Socket: filepath.Join(dir, "dns.sock"), File: filepath.Join(dir, "zone.json"), LogFile: filepath.Join(dir, "log"),
		Domain: "cluster.local", Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, ResolvConf: "/dev/null",
	}
	t.Cleanup(func() {
		if err := Stop(s.Socket); err != nil {
			t.Error(err)
		}
	})
	start := func(s Standalone) {
		t.Helper()
		if err := Start(context.Background(), s, launch); err != nil {
			log, _ := os.ReadFile(s.LogFile)
			t.Fatalf("%v\n%s", err, log)
		}
	}
	start(s)
	r := &Remote{Socket: s.Socket}
	if err := r.Update(testServices(), true); err != nil {
		t.Fatal(err)
	}
	r.Close()
	f := &fixture{t: t, addr: s.Addresses[0].String()}
	check := func(when string) {
		t.Helper()
		if got := show(f.ask("udp", "web.proj.svc.cluster.local", dns.TypeA, nil)); got != "NOERROR\nweb.proj.svc.cluster.local. 5 IN A 10.43.0.5" {
			t.Errorf("%s: %s", when, got)
		}
	}
	check("first")
	start(s)
	check("started twice")
	awaitFile(t, s.File)
	// A newer program takes over and knows the zone at once; no question is lost while it does.
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				check("while it is replaced")
			}
		})
	}
	newer := s
	for _, newer.Build = range []string{"2", "3", "4"} {
		start(newer)
	}
	cancel()
	wg.Wait()
	if now, err := ask(s.Socket, false); err != nil || now.Build != newer.id() {
		t.Errorf("serving build %s, %v", now.Build, err)
	}
	if err := Stop(s.Socket); err != nil {
		t.Fatal(err)
	}
	if err := (&Remote{Socket: s.Socket}).Update(nil, true); err == nil {
		t.Error("a stopped server takes updates")
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is not written", path)
		}
	}
}
