package config

import (
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// instance checks one instance.
func (l loader) instance(s instanceSettings) (Instance, error) {
	var i Instance
	at := s.url.at
	if !s.url.set {
		at = s.at
	}
	u, p := parseURL(s.url.text)
	if p != nil {
		return i, at.fail(p.remedy, "%s", p.message)
	}
	i.URL, i.Name = u, nameOf(u)
	steps := []func() error{
		func() error { return buildName(s.name, &i.Name) },
		func() error { return buildRoles(s.roles, &i.Roles) },
		func() error { return buildSlots(s, &i) },
		func() (err error) { i.Models, err = each(s.models, buildGlob); return err },
		func() error { return buildSize(s.maxModel, &i.MaxModel) },
		func() (err error) { i.Headers, err = l.headers(s.headers); return err },
		func() error { return l.tls(s, &i) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return i, err
		}
	}
	return i, nil
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)

// buildName checks a name: it appears in response headers, metrics and log lines.
func buildName(v value, into *string) error {
	if !v.set {
		return nil
	}
	if !namePattern.MatchString(v.text) {
		return v.at.fail("Use up to 64 letters, digits and . _ - :, beginning with a letter or digit.", "%s can not be a name", quoted(v.text))
	}
	*into = v.text
	return nil
}

func buildRoles(values []value, into *[]string) error {
	given, err := each(values, func(v value) (string, error) {
		if slices.Contains(allRoles(), v.text) {
			return v.text, nil
		}
		remedy := "Use generate, embed or both."
		if near := nearest(v.text, allRoles()); near != "" {
			remedy = fmt.Sprintf("Did you mean %q?", near)
		}
		return "", v.at.fail(remedy, "unknown role %s", quoted(v.text))
	})
	if err != nil {
		return err
	}
	*into = slices.DeleteFunc(allRoles(), func(role string) bool {
		return len(given) > 0 && !slices.Contains(given, role)
	})
	return nil
}

func buildSlots(s instanceSettings, i *Instance) error {
	if err := buildNumber(s.slots, 1, MaxSlots, &i.Slots); err != nil {
		return err
	}
	if err := buildNumber(s.limit, 1, MaxSlots, &i.Limit); err != nil {
		return err
	}
	if i.Limit > max(i.Slots, 1) {
		return s.limit.at.fail("Lower limit, or raise slots to what the instance's OLLAMA_NUM_PARALLEL is.",
			"%d is more than the instance's slots, %d", i.Limit, max(i.Slots, 1))
	}
	return nil
}

var globPattern = regexp.MustCompile(`^[A-Za-z0-9._:/@*?-]+$`)

func buildGlob(v value) (string, error) {
	if !globPattern.MatchString(v.text) {
		return "", v.at.fail(`Use a model's name, where * stands for any text and ? for one character: "qwen3:*".`, "%s is not a glob for model names", quoted(v.text))
	}
	return v.text, nil
}

var headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// headers resolves the headers of an instance. A wrong name is not quoted: it may be a secret.
func (l loader) headers(settings []headerSetting) (map[string]Secret, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	headers := map[string]Secret{}
	for _, s := range settings {
		if !headerPattern.MatchString(s.name.text) {
			return nil, s.name.at.fail("Write Name: value.", "not the name of a header")
		}
		name := textproto.CanonicalMIMEHeaderKey(s.name.text)
		if slices.Contains(ownHeaders(), name) {
			return nil, s.name.at.fail("Leave it out.", "%s is set by Corral itself", name)
		}
		if _, twice := headers[name]; twice {
			return nil, s.name.at.fail("Keep one of the two; upper and lower case are the same.", "%s is given twice", name)
		}
		secret, err := l.secret(s.value)
		if err != nil {
			return nil, err
		}
		headers[name] = secret
	}
	return headers, nil
}

// ownHeaders are those that belong to the connection or the body.
func ownHeaders() []string {
	return []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer",
		"Keep-Alive", "Proxy-Connection", "Content-Type", "Content-Encoding"}
}

// secret resolves a header's value: literal, file:PATH or env:NAME.
func (l loader) secret(v value) (Secret, error) {
	text, err := l.resolve(v)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", v.at.fail(`Give it a value, "file:PATH" or "env:NAME".`, "the header's value is empty")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "", v.at.fail("Write the value in one line.", "the header's value holds a line break or control character")
	}
	return Secret(text), nil
}
