package etcd

import (
	"context"
	"expvar"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// electNow makes a member that is alone the leader at once. Raft would wait for an election timeout, and a timeout short enough
// to start fast means a tick so fast that it costs one per cent of a core for ever. The message is the one by which a leader
// hands over. It may only be sent once raft itself has applied what was committed before: an election earlier than that looks
// for membership changes in log entries that the server may already have dropped, and raft panics when they are gone.
func electNow(ctx context.Context, server *etcdserver.EtcdServer) {
	if len(server.Cluster().Members()) > 1 {
		return
	}
	self := uint64(server.MemberID())
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for server.Leader() == 0 {
		if settled(self) {
			message := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &self, From: &self}
			if err := server.Process(ctx, message); err != nil {
				return // the election timeout does it then
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-server.StopNotify():
			return
		case <-ticker.C:
		}
	}
}

// settled says whether the member's raft has applied all that it knows to be committed. Etcd publishes raft's own view only
// as a variable of the process, that of the member started last; member ids differ, so another member's is told apart.
func settled(self uint64) bool {
	published, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	status, ok := published.Value().(raft.Status)
	return ok && status.ID == self && status.HardState != nil && status.Applied >= status.GetCommit()
}
