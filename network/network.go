// Package network is the folder of everything that moves packets on a node: plain values in, kernel state out.
//
// It is not a daemon and knows no API objects: network/agent alone watches the cluster and feeds the parts. Each part owns one
// piece of kernel state and can find it again after a crash: ipam (addresses), podnet (veths, routes, namespaces), nft (the
// nftables wire), proxy (Services), localport (published ports), dns (names). Start with podnet for pods, proxy for Services.
package network
