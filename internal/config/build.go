package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// build checks the settings and fills in defaults.
func (l loader) build(s settings) (*Config, error) {
	c := Default()
	if err := buildListen(s.listen, &c.Listen); err != nil {
		return nil, err
	}
	var err error
	if c.TLS, err = l.ownTLS(s); err != nil {
		return nil, err
	}
	if c.Hosts, err = each(s.hosts, buildHost); err != nil {
		return nil, err
	}
	if c.Origins, err = each(s.origins, buildOrigin); err != nil {
		return nil, err
	}
	if err := buildQueue(s, &c.Queue); err != nil {
		return nil, err
	}
	if len(s.instances) == 0 {
		err = l.discover(&c)
	} else {
		err = l.buildInstances(s.instances, &c)
	}
	if err == nil {
		err = buildAliases(s.aliases, &c)
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// each checks every value of a list and drops repeated ones.
func each(values []value, check func(value) (string, error)) ([]string, error) {
	var texts []string
	for _, v := range values {
		text, err := check(v)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts, nil
}

func buildListen(v value, into *string) error {
	if v.text == "" {
		return nil
	}
	if err := checkListen(v.text); err != nil {
		return v.at.fail("Write host:port, such as 127.0.0.1:11435, or :11435 for every address of this machine.", "%s: %v", quoted(v.text), err)
	}
	*into = v.text
	return nil
}

func buildHost(v value) (string, error) {
	host := strings.ToLower(strings.TrimSpace(v.text))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return strings.Trim(host, "[]"), nil
	}
	if host == "" || len(host) > 253 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", v.at.fail("Write the name alone, without scheme, port and path: gateway.example.com.", "%s is not a host name", quoted(v.text))
	}
	return host, nil
}

func buildOrigin(v value) (string, error) {
	remedy := "Write scheme://host[:port], such as https://chat.example.com or https://*.example.com, or * for any."
	origin := strings.TrimSpace(v.text)
	if origin == "*" {
		return origin, nil
	}
	scheme, rest, ok := strings.Cut(origin, "://")
	switch {
	case strings.ContainsAny(rest, "@?"):
		return "", v.at.fail(remedy, "an origin has no user and no query")
	case !ok || scheme == "" || rest == "" || strings.ContainsAny(rest, "/# ") || strings.ContainsAny(scheme, " /"):
		return "", v.at.fail(remedy, "not an origin")
	}
	return strings.ToLower(origin), nil
}

func buildQueue(s settings, q *Queue) error {
	if err := buildNumber(s.maxWaiting, 1, 10_000_000, &q.MaxWaiting); err != nil {
		return err
	}
	if err := buildSize(s.maxBytes, &q.MaxBytes); err != nil {
		return err
	}
	if err := buildSize(s.maxBody, &q.MaxBody); err != nil {
		return err
	}
	switch {
	case q.MaxBody <= q.MaxBytes:
		return nil
	case s.maxBody.set:
		return s.maxBody.at.fail("Lower it, or raise max_bytes.", "%s for one body is more than max_bytes, %s, for all", q.MaxBody, q.MaxBytes)
	default:
		q.MaxBody = q.MaxBytes // only the default is too large
		return nil
	}
}

func buildNumber(v value, low, high int, into *int) error {
	if !v.set {
		return nil
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < low || n > high {
		return v.at.fail("Write such a number, or leave it out for the default.", "%s is not a whole number from %d to %d", quoted(v.text), low, high)
	}
	*into = n
	return nil
}

func buildSize(v value, into *ByteSize) error {
	if !v.set {
		return nil
	}
	size, err := ParseByteSize(v.text)
	if err == nil && size <= 0 {
		err = fmt.Errorf("must be more than 0")
	}
	if err == nil && size > math.MaxInt64/4 {
		err = fmt.Errorf("too large")
	}
	if err != nil {
		return v.at.fail("Write a number of bytes or a size such as 64KiB, 10MB or 1GiB.", "%s: %v", quoted(v.text), err)
	}
	*into = size
	return nil
}

// discover makes the one instance of a configuration that names none.
func (l loader) discover(c *Config) error {
	c.Discovered = true
	at, text := place{source: "instances"}, "127.0.0.1:11434"
	found := trimVariable(l.env[envOllama])
	if found != "" {
		at, text = place{source: envOllama}, found
	}
	u, p := ollamaHost(text)
	if p != nil {
		return at.fail(p.remedy, "%s", p.message)
	}
	if pointsAt(u, c.Listen, l.local) {
		if found == "" {
			return at.fail("Name the Ollama's own address, for example "+envInstances+"=http://127.0.0.1:11436.",
				"none is named, and the default, %s, is where Corral itself listens", u.Host)
		}
		return at.fail("Start serve with "+envOllama+" unset, or with "+envInstances+"="+elsewhere(c.Listen)+".",
			"points at Corral itself (%s)", c.Listen)
	}
	c.Instances = []Instance{{Name: u.Host, URL: u, Roles: allRoles()}}
	return nil
}

// elsewhere returns an example of an Ollama's address that is not Corral's own.
func elsewhere(listen string) string {
	if _, port, _ := net.SplitHostPort(listen); port == "11434" {
		return "http://127.0.0.1:11436"
	}
	return "http://127.0.0.1:11434"
}

func allRoles() []string { return []string{RoleGenerate, RoleEmbed} }

// buildInstances checks the instances one by one and against each other.
func (l loader) buildInstances(all []instanceSettings, c *Config) error {
	names, urls := map[string]int{}, map[string]int{}
	for i, s := range all {
		instance, err := l.instance(s)
		if err != nil {
			return err
		}
		if pointsAt(instance.URL, c.Listen, l.local) {
			return s.url.at.fail("Name the Ollama's own address, for example "+elsewhere(c.Listen)+", or let Corral listen elsewhere.",
				"points at Corral itself (%s)", c.Listen)
		}
		if first, taken := urls[instance.URL.String()]; taken {
			return s.url.at.fail("Keep one of them; its slots would be counted twice.",
				"%s is instance %s already", instance.URL.Redacted(), c.Instances[first].Name)
		}
		if _, taken := names[instance.Name]; taken {
			at := s.name.at
			if !s.name.set {
				at = s.url.at
			}
			return at.fail("Give each instance a name of its own.", "another instance is named %q already", instance.Name)
		}
		names[instance.Name], urls[instance.URL.String()] = i, i
		c.Instances = append(c.Instances, instance)
	}
	return nil
}

// nameOf returns the name of an instance that was given none.
func nameOf(u *url.URL) string { return u.Host }

// list writes words in one line: "a, b, c".
func list(words []string) string { return strings.Join(words, ", ") }
