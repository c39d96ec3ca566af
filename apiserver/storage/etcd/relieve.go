package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// relieve gives a member that ran full another chance at its start: pages that compaction freed go back to the file system, and
// the alarm that refuses writes is taken away. If there still is no room, the next write raises it again.
func relieve(ctx context.Context, server *etcdserver.EtcdServer, client *clientv3.Client) error {
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return errkind.New(errkind.Unavailable, "look for alarms of etcd: %w", err)
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if err := server.Backend().Defrag(); err != nil {
			return errkind.New(errkind.Unavailable, "defragment the full etcd: %w", err)
		}
		member := clientv3.AlarmMember{MemberID: alarm.MemberID, Alarm: alarm.Alarm}
		if _, err := client.AlarmDisarm(ctx, &member); err != nil {
			return errkind.New(errkind.Unavailable, "take back the alarm of the full etcd: %w", err)
		}
	}
	return nil
}
