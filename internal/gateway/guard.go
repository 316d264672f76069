package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"corral/internal/relay"
)

// admit applies Ollama's own guards, because both headers are rewritten on the way to the instances: the
// Host must be a local name (DNS rebinding), the Origin of a browser an allowed one. It answers preflights.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) bool {
	c := g.Config.Load()
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host {
		if !allowedOrigin(origin, c.Origins) {
			g.Log.Warn("403: a page of this origin may not ask: add it to `origins` if it should", "origin", origin, "path", r.URL.Path)
			w.WriteHeader(http.StatusForbidden)
			return false
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions {
			h.Add("Vary", "Access-Control-Request-Method")
			h.Add("Vary", "Access-Control-Request-Headers")
			h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS")
			h.Set("Access-Control-Allow-Headers", strings.Join(allowedHeaders[:], ","))
			h.Set("Access-Control-Max-Age", "43200")
			w.WriteHeader(http.StatusNoContent)
			return false
		}
		h.Set("Access-Control-Expose-Headers", "X-Corral-Instance,X-Corral-Queue-Ms,X-Corral-Attempts,X-Corral-Digests-Differ,X-Corral-Warning,X-Request-Id")
	}
	if onLoopback(r) && !allowedHost(r.Host, c.Hosts) {
		g.Log.Warn("403: Corral may not be called by this name: add it to `hosts` if it should", "host", r.Host, "path", r.URL.Path)
		w.WriteHeader(http.StatusForbidden)
		return false
	}
	// A Corral that probes us is answered, so that it sees what we are; everything else would go in a circle.
	if r.Header.Get(relay.LoopHeader) != "" && r.URL.Path != "/api/version" {
		g.reject(w, r, http.StatusLoopDetected,
			"this request came from a Corral: an entry of its instances names this Corral, name Ollama's own address instead")
		return false
	}
	return true
}

// allowedHeaders is what browsers may send: Ollama's list, and Corral's own headers.
var allowedHeaders = [...]string{
	"Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "Openai-Beta",
	"X-Stainless-Arch", "X-Stainless-Async", "X-Stainless-Custom-Poll-Interval", "X-Stainless-Helper-Method",
	"X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Package-Version", "X-Stainless-Poll-Helper",
	"X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout",
	"X-Request-Id", "X-Corral-Instance",
}

// ownOrigins are pages that Ollama trusts: those of this machine and of desktop applications.
var ownOrigins = []string{
	"http://localhost", "https://localhost", "http://localhost:*", "https://localhost:*",
	"http://127.0.0.1", "https://127.0.0.1", "http://127.0.0.1:*", "https://127.0.0.1:*",
	"http://0.0.0.0", "https://0.0.0.0", "http://0.0.0.0:*", "https://0.0.0.0:*",
	"app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*",
}

func allowedOrigin(origin string, more []string) bool {
	match := func(pattern string) bool {
		before, after, wild := strings.Cut(pattern, "*")
		if !wild {
			return origin == pattern
		}
		return len(origin) >= len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
	}
	return slices.ContainsFunc(ownOrigins, match) || slices.ContainsFunc(more, match)
}

// onLoopback says whether the request came in on a loopback address. Ollama guards the Host when it listens
// there: then a browser of this machine is the way in that matters.
func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func allowedHost(hostport string, more []string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified() || isOwn(addr)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || host == "localhost" || slices.ContainsFunc(more, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	if name, err := os.Hostname(); err == nil && host == strings.ToLower(name) {
		return true
	}
	return strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal")
}

// isOwn says whether an address is one of this machine's.
func isOwn(addr netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == addr
	})
}
