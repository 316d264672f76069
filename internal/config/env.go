package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// environment is a set of variables.
type environment map[string]string

func parseEnviron(environ []string) environment {
	env := environment{}
	for _, e := range environ {
		if name, text, ok := strings.Cut(e, "="); ok && name != "" {
			env[name] = text
		}
	}
	return env
}

// Names of the variables that Corral's configuration reads.
const (
	envConfig    = "CORRAL_CONFIG"
	envInstances = "CORRAL_INSTANCES"
	envOllama    = "OLLAMA_HOST"
	envCert      = "CORRAL_TLS_CERT"
	envKey       = "CORRAL_TLS_KEY"
)

// variables returns every CORRAL_… variable that sets a key.
func variables() []string {
	return []string{"CORRAL_LISTEN", envCert, envKey, "CORRAL_HOSTS", "CORRAL_ORIGINS", envInstances, "CORRAL_ALIASES",
		"CORRAL_QUEUE_MAX_WAITING", "CORRAL_QUEUE_MAX_BYTES", "CORRAL_QUEUE_MAX_BODY"}
}

// refuseMistyped finds a CORRAL_… variable that is none, but looks as if it should be one. Others
// are left alone: tests and engines have their own, and Kubernetes makes CORRAL_PORT_… and
// CORRAL_SERVICE_… for a service named corral.
func (env environment) refuseMistyped() error {
	known := variables()
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	slices.Sort(names) // the same one is reported each time
	for _, name := range names {
		upper := strings.ToUpper(name)
		if !strings.HasPrefix(upper, "CORRAL_") || slices.Contains(known, name) || foreign(name) {
			continue
		}
		near := nearestVariable(upper, known)
		if near != "" {
			return place{source: name}.fail(fmt.Sprintf("Did you mean %s? Otherwise unset it.", near), "unknown variable")
		}
	}
	return nil
}

// foreign reports variables that other parts of Corral or Kubernetes use.
func foreign(name string) bool {
	if slices.Contains([]string{envConfig, "CORRAL_OLLAMA", "CORRAL_CACHE", "CORRAL_DATA", "CORRAL_PORT"}, name) {
		return true
	}
	return slices.ContainsFunc([]string{"CORRAL_ENGINE_", "CORRAL_TEST_", "CORRAL_PORT_", "CORRAL_SERVICE_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func nearestVariable(upper string, known []string) string {
	rest := strings.TrimPrefix(upper, "CORRAL_")
	for _, k := range known {
		// CORRAL_MAX_BODY for CORRAL_QUEUE_MAX_BODY.
		if strings.HasSuffix(k, "_"+rest) {
			return k
		}
	}
	var rests []string
	for _, k := range known {
		rests = append(rests, strings.TrimPrefix(k, "CORRAL_"))
	}
	if slices.Contains(rests, rest) { // only the case is wrong
		return "CORRAL_" + rest
	}
	if near := nearest(rest, rests); near != "" {
		return "CORRAL_" + near
	}
	return ""
}

// apply lays the variables over the settings of the file. An empty variable counts as unset.
func (env environment) apply(s *settings) {
	one := func(name string, into *value) {
		if text := trimVariable(env[name]); text != "" {
			*into = value{text, true, place{source: name}}
		}
	}
	many := func(name string, into *[]value) {
		if values := env.list(name); values != nil {
			*into = values
		}
	}
	one("CORRAL_LISTEN", &s.listen)
	one(envCert, &s.tlsCert)
	one(envKey, &s.tlsKey)
	many("CORRAL_HOSTS", &s.hosts)
	many("CORRAL_ORIGINS", &s.origins)
	one("CORRAL_QUEUE_MAX_WAITING", &s.maxWaiting)
	one("CORRAL_QUEUE_MAX_BYTES", &s.maxBytes)
	one("CORRAL_QUEUE_MAX_BODY", &s.maxBody)
	if entries := env.list("CORRAL_ALIASES"); entries != nil {
		s.aliases = aliasesOfEntries(entries)
	}
	if entries := env.list(envInstances); entries != nil {
		s.instances = nil
		for _, e := range entries {
			s.instances = append(s.instances, instanceOfEntry(e))
		}
	}
}

// list splits a variable at its commas; nil when there is nothing in it.
func (env environment) list(name string) []value {
	var values []value
	for text := range strings.SplitSeq(trimVariable(env[name]), ",") {
		if text = strings.TrimSpace(text); text != "" {
			at := place{source: name}.named("entry %d", len(values)+1)
			values = append(values, value{text, true, at})
		}
	}
	return values
}

var entryPattern = regexp.MustCompile(`^([^=:/@?]+)=(.*)$`)

// instanceOfEntry reads one entry of CORRAL_INSTANCES: url or name=url.
func instanceOfEntry(e value) instanceSettings {
	s := instanceSettings{at: e.at, url: e}
	if m := entryPattern.FindStringSubmatch(e.text); m != nil {
		s.name = value{strings.TrimSpace(m[1]), true, e.at}
		s.url.text = m[2]
	}
	return s
}
