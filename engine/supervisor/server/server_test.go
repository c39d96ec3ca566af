//go:build cgo

package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestResolveUser(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The files are behind absolute links, as some images have them: they must be followed inside the root.
	write("usr/etc/passwd", "# a comment\nroot:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n7:x:70:71::/:\n")
	write("usr/etc/group", "root:x:0:\ngrp:x:2000:app,other\nmore:x:3000:app\n")
	if err := os.Symlink("/usr/etc", filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		text   string
		given  []uint32
		strict bool
		want   specs.User
		err    string
	}{
		{text: "root", want: specs.User{}},
		{text: "app", want: specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{2000, 3000}}},
		{text: "1000", given: []uint32{5, 2000}, want: specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 2000, 3000}}},
		{text: "1000:9", strict: true, given: []uint32{5}, want: specs.User{UID: 1000, GID: 9, AdditionalGids: []uint32{5}}},
		{text: "app:grp", strict: true, want: specs.User{UID: 1000, GID: 2000}},
		{text: "4242", want: specs.User{UID: 4242}},
		{text: "7", want: specs.User{UID: 70, GID: 71}}, // a name that looks like a number is a name
		{text: "nobody", err: "unable to find user nobody: no matching entries in passwd file"},
		{text: "app:none", err: "unable to find group none: no matching entries in group file"},
		{text: "-1", err: "unable to find user -1"},
	} {
		got, err := lookUp(root, tc.text, tc.given, tc.strict)
		if tc.err != "" {
			if !errors.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want %q", tc.text, err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.text, err, diff)
		}
	}
	if got, err := lookUp(t.TempDir(), "12:34", nil, false); err != nil || got.UID != 12 || got.GID != 34 {
		t.Errorf("numbers in a root without files give %+v, %v", got, err)
	}
}

func TestClamp(t *testing.T) {
	score := -997
	p := &specs.Process{OOMScoreAdj: &score, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 900, Hard: 5000},
		{Type: "RLIMIT_CORE", Soft: 1, Hard: 1}}, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_SYS_RESOURCE"}}}
	r := rights{oomScoreAdj: -5, hard: map[string]uint64{"RLIMIT_NOFILE": 800, "RLIMIT_CORE": 10}, withheld: []string{"CAP_SYS_RESOURCE"}}
	notes := r.clamp(p)
	want := []string{"1 capabilities that we do not have", "RLIMIT_NOFILE from 5000 to 800", "oom_score_adj from -997 to -5"}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if *p.OOMScoreAdj != -5 || p.Rlimits[0].Soft != 800 || p.Rlimits[1].Hard != 1 || len(p.Capabilities.Bounding) != 1 {
		t.Errorf("clamped process is %+v", p)
	}
	if r.clamp(p) != nil {
		t.Errorf("clamping twice changes something")
	}
	full := rights{sysResource: true}
	p.Rlimits[0].Hard = 1 << 40
	if notes := full.clamp(p); notes != nil || p.Rlimits[0].Hard != 1<<40 {
		t.Errorf("with all rights, clamping says %v", notes)
	}
}

func TestOptions(t *testing.T) {
	flags, data := splitOptions([]string{"rbind", "ro", "lowerdir=a:b", "index=off"})
	if flags != unix.MS_BIND|unix.MS_REC|unix.MS_RDONLY || strings.Join(data, ",") != "lowerdir=a:b,index=off" {
		t.Errorf("flags %#x, data %v", flags, data)
	}
}

func TestMerge(t *testing.T) {
	limit, shares, quota := int64(5), uint64(7), int64(9)
	got, err := merge(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Shares: &shares}},
		&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}})
	want := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Shares: &shares, Quota: &quota}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadStats(t *testing.T) {
	now := time.Unix(5, 0)
	for name, keys := range map[string][]string{"v1": {"total_inactive_file", "total_rss"}, "v2": {"inactive_file", "anon"}} {
		raw := cgroups.NewStats()
		raw.CpuStats.CpuUsage.TotalUsage = 7
		raw.MemoryStats.Usage.Usage = 100
		raw.MemoryStats.Stats = map[string]uint64{keys[0]: 30, keys[1]: 20}
		raw.BlkioStats.IoServiceBytesRecursive = []cgroups.BlkioStatEntry{{Op: "Read", Value: 3}, {Op: "Write", Value: 4}, {Op: "read", Value: 5}}
		want := container.Stats{Time: now, CPUUsage: 7, MemoryUsage: 100, MemoryWorkingSet: 70, MemoryRSS: 20, BlkRead: 8, BlkWrite: 4}
		if diff := cmp.Diff(want, readStats(raw, now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEventLog(t *testing.T) {
	l := newEventLog()
	first := l.seq
	if _, known, _ := l.since(0); known {
		t.Errorf("the beginning of time is within what is kept")
	}
	for range 3 * keptEvents {
		l.publish(container.EventStarted, container.Status{})
	}
	events, known, _ := l.since(l.seq - 2)
	if !known || len(events) != 2 || events[1].Seq != l.seq {
		t.Errorf("last two events: %d, known %t", len(events), known)
	}
	if _, known, _ := l.since(first); known {
		t.Errorf("events older than what is kept are said to be known")
	}
	if _, known, _ := l.since(l.seq + 1); known {
		t.Errorf("events of the future are said to be known")
	}
	if events, known, _ := l.since(l.seq); !known || len(events) != 0 {
		t.Errorf("nothing new gives %d events, known %t", len(events), known)
	}
}
