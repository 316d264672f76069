package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// problem is what is wrong with a text and what to do about it. It quotes nothing that may be secret.
type problem struct{ message, remedy string }

func (p *problem) Error() string { return p.message }

const urlForm = "Write it like http://10.0.0.5:11434."

// parseURL reads an instance's URL with the defaults that Ollama gives OLLAMA_HOST: no scheme means
// http and port 11434, http:// without a port 80, https:// without a port 443. An unspecified
// or missing host means loopback, because a client can not connect to 0.0.0.0 everywhere.
func parseURL(text string) (*url.URL, *problem) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, &problem{"the URL is missing", urlForm}
	}
	scheme, rest, found := strings.Cut(text, "://")
	scheme, port := strings.ToLower(scheme), ""
	switch {
	case !found && strings.EqualFold(text, "ollama.com"):
		scheme, rest, port = "https", text, "443"
	case !found:
		scheme, rest, port = "http", text, "11434"
	case scheme == "http":
		port = "80"
	case scheme == "https":
		port = "443"
	default:
		return nil, &problem{"the URL's scheme is neither http nor https", urlForm}
	}
	authority, path, _ := strings.Cut(rest, "/")
	if p := refuseURLParts(rest, path); p != nil {
		return nil, p
	}
	host, port, p := splitAuthority(authority, port)
	if p != nil {
		return nil, p
	}
	return joinURL(scheme, net.JoinHostPort(host, port), path)
}

// refuseURLParts refuses what an instance's URL may not hold; rest is the URL after its scheme.
func refuseURLParts(rest, path string) *problem {
	switch {
	case strings.Contains(rest, "@"):
		return &problem{"the URL holds a user or password", `Use headers instead: headers: {Authorization: "file:NAME"} with "Basic …" or "Bearer …" in the file.`}
	case strings.ContainsAny(rest, "?#"):
		return &problem{"the URL holds a query or fragment", "Remove everything from the ? or # on; a key belongs into headers."}
	case strings.ContainsAny(rest, " \t\r\n\\\"<>^`{|}"):
		return &problem{"the URL holds a character that no URL has", urlForm}
	}
	if last := strings.Trim(path, "/"); last == "v1" || last == "api" {
		return &problem{"the URL ends in /" + last, "Remove /" + last + ": Corral adds the paths itself."}
	}
	return nil
}

// splitAuthority splits host[:port] and fills in the defaults.
func splitAuthority(authority, port string) (string, string, *problem) {
	host := authority
	if h, p, err := net.SplitHostPort(authority); err == nil {
		host = h
		if p != "" {
			port = p
		}
	} else if addr, err := netip.ParseAddr(strings.Trim(authority, "[]")); err == nil {
		host = addr.String()
	} else if strings.Contains(authority, ":") {
		return "", "", &problem{"the URL's host and port are not readable", urlForm + " An IPv6 address with a port needs brackets: http://[fd00::1]:11434."}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", &problem{"the URL's port is not a number from 1 to 65535", urlForm}
	}
	return connectable(strings.ToLower(host)), strings.TrimLeft(port, "0"), nil
}

// connectable replaces hosts that can only be listened on.
func connectable(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return "127.0.0.1"
	case err != nil || !addr.IsUnspecified():
		return host
	case addr.Is6() && !addr.Is4In6():
		return "::1"
	default:
		return "127.0.0.1"
	}
}

func joinURL(scheme, host, path string) (*url.URL, *problem) {
	text := scheme + "://" + host
	if path = strings.Trim(path, "/"); path != "" {
		text += "/" + path
	}
	u, err := url.Parse(text)
	if err != nil { // it quotes the URL
		return nil, &problem{"the URL is not readable", urlForm}
	}
	return u, nil
}

// ollamaHost reads OLLAMA_HOST as Ollama's own client does; as there, a bad port means the default.
func ollamaHost(text string) (*url.URL, *problem) {
	text = trimVariable(text)
	u, p := parseURL(text)
	if p == nil {
		return u, nil
	}
	prefix, rest, found := strings.Cut(text, "://")
	if !found {
		prefix, rest = "", text
	} else {
		prefix += "://"
	}
	authority, path, _ := strings.Cut(rest, "/")
	host, port, err := net.SplitHostPort(authority)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad == nil {
		return nil, p
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return parseURL(prefix + host + "/" + path)
}

// trimVariable removes the space and quotes that an env file may leave around a value, as Ollama does.
func trimVariable(text string) string { return strings.Trim(strings.TrimSpace(text), `"'`) }

// checkListen reads the address to listen on.
func checkListen(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("not host:port")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port is not a number from 0 to 65535")
	}
	if strings.ContainsAny(host, " /\\@?#") {
		return errors.New("the host is neither a name nor an address")
	}
	return nil
}

// pointsAt reports whether a client of u would reach the server that listens on listen. local are
// the machine's own addresses.
func pointsAt(u *url.URL, listen string, local []netip.Addr) bool {
	listenHost, listenPort, err := net.SplitHostPort(listen)
	if err != nil || listenPort != u.Port() || listenPort == "0" {
		return false
	}
	host := u.Hostname()
	if strings.EqualFold(host, listenHost) {
		return true
	}
	listenAddr, listenErr := netip.ParseAddr(listenHost)
	addr, err := netip.ParseAddr(host)
	everywhere := listenHost == "" || listenErr == nil && listenAddr.IsUnspecified()
	switch {
	case host == "localhost":
		return everywhere || listenErr == nil && isLocalhost(listenAddr)
	case err != nil:
		return false
	case listenHost == "localhost":
		return isLocalhost(addr)
	case everywhere:
		return addr.IsLoopback() || contains(local, addr)
	default:
		return listenErr == nil && addr.Unmap() == listenAddr.Unmap()
	}
}

// isLocalhost tells the addresses of the name localhost from the rest of 127.0.0.0/8.
func isLocalhost(addr netip.Addr) bool {
	return addr.Unmap() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr == netip.IPv6Loopback()
}

func contains(addrs []netip.Addr, addr netip.Addr) bool {
	for _, a := range addrs {
		if a.Unmap().WithZone("") == addr.Unmap().WithZone("") {
			return true
		}
	}
	return false
}

// localAddrs returns the machine's own addresses; none when they can not be read.
func localAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var local []netip.Addr
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			local = append(local, prefix.Addr())
		}
	}
	return local
}
