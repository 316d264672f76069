package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const afterRestart = "takes effect after a restart"

// Changes says in words what differs between two snapshots, one line each, in a stable order. It
// shows no secrets.
func Changes(old, new *Config) []string {
	var changes []string
	if old.Listen != new.Listen {
		changes = append(changes, fmt.Sprintf("listen changed: %s -> %s: %s", old.Listen, new.Listen, afterRestart))
	}
	switch {
	case old.TLS.On() != new.TLS.On():
		changes = append(changes, "tls changed: "+afterRestart)
	case !bytes.Equal(old.TLS.CertPEM, new.TLS.CertPEM) || !bytes.Equal(old.TLS.KeyPEM, new.TLS.KeyPEM):
		changes = append(changes, "tls changed: new connections get the new certificate")
	}
	changes = appendList(changes, "hosts", old.Hosts, new.Hosts)
	changes = appendList(changes, "origins", old.Origins, new.Origins)
	changes = append(changes, instanceChanges(old.Instances, new.Instances)...)
	changes = append(changes, aliasChanges(old.Aliases, new.Aliases)...)
	q, r := old.Queue, new.Queue
	changes = appendChange(changes, "queue.max_waiting", q.MaxWaiting, r.MaxWaiting)
	changes = appendChange(changes, "queue.max_bytes", q.MaxBytes, r.MaxBytes)
	return appendChange(changes, "queue.max_body", q.MaxBody, r.MaxBody)
}

func appendChange[T comparable](changes []string, what string, old, new T) []string {
	if old == new {
		return changes
	}
	return append(changes, fmt.Sprintf("%s changed: %v -> %v", what, old, new))
}

func appendList(changes []string, what string, old, new []string) []string {
	return appendChange(changes, what, "["+list(old)+"]", "["+list(new)+"]")
}

// instanceChanges matches instances by name.
func instanceChanges(old, new []Instance) []string {
	before := map[string]Instance{}
	for _, i := range old {
		before[i.Name] = i
	}
	var changes []string
	for _, i := range new {
		was, ok := before[i.Name]
		delete(before, i.Name)
		if !ok {
			changes = append(changes, "instance "+i.Name+" added")
		} else if !was.Equal(i) {
			changes = append(changes, "instance "+i.Name+" changed: "+strings.Join(was.differences(i), "; "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		changes = append(changes, "instance "+name+" removed")
	}
	return changes
}

// differences says what differs between two instances of one name.
func (i Instance) differences(now Instance) []string {
	var parts []string
	add := func(what, before, after string) {
		if before != after {
			parts = append(parts, what+" "+before+" -> "+after)
		}
	}
	add("url", i.URL.Redacted(), now.URL.Redacted())
	add("roles", "["+list(i.Roles)+"]", "["+list(now.Roles)+"]")
	add("slots", stated(i.Slots), stated(now.Slots))
	add("limit", stated(i.Limit), stated(now.Limit))
	add("models", "["+list(i.Models)+"]", "["+list(now.Models)+"]")
	add("max_model", bounded(i.MaxModel), bounded(now.MaxModel))
	parts = append(parts, headerDifferences(i.Headers, now.Headers)...)
	if i.CA != now.CA || !bytes.Equal(i.CAPEM, now.CAPEM) {
		parts = append(parts, "ca")
	}
	if i.ClientCert != now.ClientCert || i.ClientKey != now.ClientKey ||
		!bytes.Equal(i.ClientCertPEM, now.ClientCertPEM) || !bytes.Equal(i.ClientKeyPEM, now.ClientKeyPEM) {
		parts = append(parts, "client_cert")
	}
	return parts
}

// stated writes a number that is 0 when it was left out.
func stated(n int) string {
	if n == 0 {
		return "not stated"
	}
	return fmt.Sprint(n)
}

// bounded writes a size that is 0 when there is no bound.
func bounded(b ByteSize) string {
	if b == 0 {
		return "any"
	}
	return b.String()
}

func headerDifferences(old, new map[string]Secret) []string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(new)) {
		before, ok := old[name]
		if !ok {
			parts = append(parts, "header "+name+" added")
		} else if before != new[name] {
			parts = append(parts, "header "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := new[name]; !ok {
			parts = append(parts, "header "+name+" removed")
		}
	}
	return parts
}
