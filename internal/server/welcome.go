package server

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"corral/internal/config"
	"corral/internal/fleet"
)

// welcome says what was found, where clients point, and what to try first.
func (s *server) welcome(addr net.Addr) {
	views := s.fleet.Views()
	fmt.Fprintf(s.Out, "Corral %s: one endpoint in front of %d Ollama %s\n\n", s.Version, len(views), plural(len(views), "instance"))
	var models []string
	for _, v := range views {
		fmt.Fprintf(s.Out, "  %-20s %-32s %s\n", v.Name, v.URL, describe(v))
		models = append(models, v.Chats...)
	}
	slices.Sort(models)
	up := slices.ContainsFunc(views, func(v fleet.View) bool { return v.Up })
	host, port, _ := net.SplitHostPort(addr.String())
	own := "127.0.0.1:" + port
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		own = addr.String()
	}
	scheme := "http"
	if s.config.Load().TLS.On() {
		scheme = "https"
	}
	own = scheme + "://" + own
	fmt.Fprintf(s.Out, "\n  this machine   %s   (OpenAI SDKs: %s/v1)\n", own, own)
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		fmt.Fprintf(s.Out, "  containers     %s://host.docker.internal:%s with Docker Desktop; on Linux open it first\n", scheme, port)
		fmt.Fprintf(s.Out, "  network        closed; to open it to everyone who can reach it: corral serve --listen 0.0.0.0:%s\n", port)
	} else {
		fmt.Fprintf(s.Out, "  containers     %s://host.docker.internal:%s   (Linux: docker run --add-host=host.docker.internal:host-gateway)\n", scheme, port)
		fmt.Fprintf(s.Out, "  network        %s\n", strings.Join(networkURLs(scheme, host, port), "  "))
	}
	fmt.Fprintf(s.Out, "\nTry:  %s\n\n", firstCommand(own, up, slices.Compact(models)))
}

func describe(v fleet.View) string {
	if !v.Up {
		return "not usable, waiting for it: " + v.Error
	}
	slots := fmt.Sprintf("%d %s", v.Slots, plural(v.Slots, "slot"))
	if !v.Stated && slices.Contains(v.Roles, config.RoleGenerate) {
		slots += " (set `slots` to its OLLAMA_NUM_PARALLEL)"
	}
	return fmt.Sprintf("Ollama %s, %s, %d %s, %s", v.Version, strings.Join(v.Roles, " and "), len(v.Models), plural(len(v.Models), "model"), slots)
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func firstCommand(own string, up bool, models []string) string {
	if !up {
		return "ollama serve      (start Ollama: Corral finds it by itself; is it elsewhere, name it with CORRAL_INSTANCES)"
	}
	if len(models) == 0 {
		return fmt.Sprintf("OLLAMA_HOST=%s ollama pull qwen3:4b", own)
	}
	return fmt.Sprintf(`curl %s/api/chat -d '{"model":%q,"messages":[{"role":"user","content":"hello"}]}'`, own, models[0])
}

// networkURLs is where other machines reach a listener.
func networkURLs(scheme, host, port string) []string {
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return []string{scheme + "://" + net.JoinHostPort(host, port)}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var urls []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			urls = append(urls, scheme+"://"+net.JoinHostPort(n.IP.String(), port))
		}
	}
	return urls
}
