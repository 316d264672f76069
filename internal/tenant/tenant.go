// Package tenant says whose share of the queue a request uses.
package tenant

import "net/netip"

// OfAddr is the tenant of a client without a key: its address, for IPv6 its /64, since one machine has a
// whole network of those. remote is an "ip:port" as net/http gives it.
func OfAddr(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "unknown" // an in-memory or unix connection
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return network.String()
}
