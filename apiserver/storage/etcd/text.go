package etcd

import "unsafe"

// text views bytes as the string that clientv3 wants, without a copy: values are immutable by the store's contract.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
