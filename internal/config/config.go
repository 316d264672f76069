// Package config turns corral.yaml, CORRAL_… variables and flags into one immutable [Config].
//
// Reading is strict: an unknown key, a wrong type or a value that can not work is an [Error] that
// shows the place and says what to do. Secrets appear in no error and no log.
package config

import (
	"bytes"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Roles of an instance.
const (
	RoleGenerate = "generate"
	RoleEmbed    = "embed"
)

// MaxSlots is the largest slots value an instance may state.
const MaxSlots = 1024

// Config is one snapshot of every setting. It is not changed after Load returns it.
type Config struct {
	Listen    string     // address to listen on, host:port; default "127.0.0.1:11435"
	Hosts     []string   // extra Host header names that are accepted, lower case, beside Ollama's own list
	TLS       TLS        // what Corral shows to clients; the zero value serves plain HTTP
	Origins   []string   // extra browser origins that are accepted, may hold * wildcards, beside Ollama's own list
	Instances []Instance // at least one
	Aliases   []Alias    // in file order, see Alias
	Queue     Queue

	// Discovered is true when no instance was named: the one there is comes from OLLAMA_HOST or is the default.
	Discovered bool
	// Path is the file that was read, or "" when there was none.
	Path string
}

// Instance is one Ollama server.
type Instance struct {
	Name   string   // unique; default: host:port of the URL
	URL    *url.URL // scheme, host:port and an optional path prefix without a trailing slash
	Roles  []string // what it may be used for, in the order generate, embed; default both
	Slots  int      // requests of one model it runs at once, 1..1024; 0 = not stated
	Limit  int      // most requests of one model Corral sends at once, 1..1024, <= Slots; 0 = Slots
	Models []string // globs over canonical model names, see Serves; empty = all
	// MaxModel is the largest model, in bytes as /api/tags says them, that is put there by pull and create; 0 = any.
	MaxModel ByteSize
	Headers  map[string]Secret // sent to the instance with every request; canonical names, file: and env: resolved

	CA         string // PEM file or env:NAME of the authorities that vouch for the instance; "" = the system's
	ClientCert string // PEM file or env:NAME of Corral's own certificate; "" = none
	ClientKey  string // PEM file or env:NAME of the certificate's key

	CAPEM         []byte // content of CA
	ClientCertPEM []byte // content of ClientCert
	ClientKeyPEM  SecretBytes
}

// TLS is the certificate that Corral shows to its clients.
type TLS struct {
	Cert, Key string // PEM file or env:NAME
	CertPEM   []byte
	KeyPEM    SecretBytes
}

// On says whether Corral serves HTTPS.
func (t TLS) On() bool { return t.Cert != "" }

// Queue bounds what may wait.
type Queue struct {
	MaxWaiting int      // calls that may wait at once, 1..10,000,000; default 100000
	MaxBytes   ByteSize // bodies of all waiting and running calls; default 1GiB
	MaxBody    ByteSize // one request's body, a larger one is answered with 413; <= MaxBytes; default 100MiB
}

// Default returns the settings that hold where nothing is said. It has no instances.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:11435",
		Queue:  Queue{MaxWaiting: 100_000, MaxBytes: 1 << 30, MaxBody: 100 << 20},
	}
}

// HasRole reports whether the instance may be used for role.
func (i Instance) HasRole(role string) bool { return slices.Contains(i.Roles, role) }

// Serves reports whether the instance may be used for the canonical model name. In a glob, * stands
// for any run of characters (slashes too) and ? for one; case is ignored, and a glob that names no
// tag means ":latest", as in Ollama.
func (i Instance) Serves(model string) bool {
	if len(i.Models) == 0 {
		return true
	}
	model = strings.ToLower(model)
	return slices.ContainsFunc(i.Models, func(glob string) bool {
		glob = strings.ToLower(glob)
		base := glob[strings.LastIndexByte(glob, '/')+1:]
		if !strings.Contains(base, ":") && !strings.HasSuffix(base, "*") {
			glob += ":latest"
		}
		return matchGlob(glob, model)
	})
}

// Equal reports whether two instances are the same in every setting, secrets included.
func (i Instance) Equal(other Instance) bool {
	return i.Name == other.Name && sameURL(i.URL, other.URL) &&
		slices.Equal(i.Roles, other.Roles) && slices.Equal(i.Models, other.Models) &&
		i.Slots == other.Slots && i.Limit == other.Limit && i.MaxModel == other.MaxModel && maps.Equal(i.Headers, other.Headers) &&
		i.CA == other.CA && i.ClientCert == other.ClientCert && i.ClientKey == other.ClientKey &&
		i.sameTLS(other)
}

func (i Instance) sameTLS(other Instance) bool {
	return bytes.Equal(i.CAPEM, other.CAPEM) && bytes.Equal(i.ClientCertPEM, other.ClientCertPEM) &&
		bytes.Equal(i.ClientKeyPEM, other.ClientKeyPEM)
}

func sameURL(a, b *url.URL) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
}

// matchGlob knows * and ?. It remembers only the last star: on a mismatch that one takes one more
// character, which is enough because an earlier star can not do better.
func matchGlob(glob, s string) bool {
	g, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, i
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == s[i]):
			g, i = g+1, i+1
		case star >= 0:
			mark++
			g, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
