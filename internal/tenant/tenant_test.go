package tenant

import "testing"

func TestOfAddr(t *testing.T) {
	f := func(remote, want string) {
		t.Helper()
		if got := OfAddr(remote); got != want {
			t.Errorf("OfAddr(%q) = %q, want %q", remote, got, want)
		}
	}
	f("127.0.0.1:4000", "127.0.0.1")
	f("10.1.2.3:80", "10.1.2.3")
	// An IPv4 client on a dual-stack listener is the same client.
	f("[::ffff:10.1.2.3]:80", "10.1.2.3")
	// One IPv6 machine may use any address of its network.
	f("[2001:db8:1:2::5]:80", "2001:db8:1:2::/64")
	f("[2001:db8:1:2:ffff::1]:80", "2001:db8:1:2::/64")
	f("[fe80::1%eth0]:80", "fe80::/64")
	f("pipe", "unknown")
	f("", "unknown")
}
